"""How hard the bleeds of the simulated SWI cohort are to find: every constant that makes it harder or easier.

They were settled before any network was trained on synthetic cases, so that a detector trained on simulated scans finds
about as large a share of the bleeds as published detectors do in patients. Measured on scans of 1.5 mm, one training
each on 60 subjects of seed 100: at 10 false positives per scan, 72 % of the bleeds of 21 other subjects are found
without augmentation and 73 % with it. Published for patients: 78 and 81 % (Faryna et al. 2021, table 1).
"""

BLEED_PPM = (0.35, 2.5)
"""Range of a bleed's susceptibility above tissue, log-uniform: haemosiderin is 1 to 4 ppm, old or diluted bleeds less;
0.4 ppm is about the least that is found at 3 T (Naji et al., NMR Biomed 2024). Below about 0.5 ppm a bleed is grey, as
a vein is."""
BLEED_VISIBLE_MM = (3.5, 8.5)
BLEED_MEDIAN_MM, BLEED_SPREAD = 5.5, 0.35
"""Log-normal largest extent as seen on the scan. What is seen scatters around it, from 2 to 10 mm: the definition of a
microbleed. A bleed too faint for an outline has one voxel."""
BLEED_LEAST_VOXELS = 3.0
"""Least number of voxels along the largest extent: of a smaller bleed, partial volume leaves nothing that a reader
would outline. It matters in voxels larger than about 1.2 mm."""
BLEED_MEAN_NUMBER, BLEED_MOST = 4.0, 10
"""Bleeds of a patient, geometrically distributed: most patients have few."""
ELONGATED_SHARE = 0.3
"""Share of bleeds that are tracks, as in shear injury; a track looks like a piece of a vein."""
ZONES = {"border": 0.55, "white matter": 0.3, "deep": 0.15}
"""Where bleeds lie: at the border of grey and white matter, where medullary and sulcal veins meet, most of all."""
NOISE = (0.02, 0.035)
"""Standard deviation of the complex noise, relative to white matter, in a voxel of any size: a coarse scan is a fast
one, not a quiet one."""
VEINS = {"medullary": (150, 300), "sulcal": (250, 450), "subependymal": (12, 24)}
"""Number of veins of a subject. Those that run through a slice look like bleeds in it."""
CALCIFICATION_PPM = (-3.0, -0.8)
CALCIFICATION_MM = (1.2, 5.0)
"""Susceptibility relative to tissue, and diameter of the core. Small ones are as dark and as round as bleeds."""
CALCIFICATION_SITES = (
    ((21.0, -40.0, 10.0), 5.0, 0.7),  # choroid plexus
    ((0.0, -28.0, 2.0), 2.0, 0.8),  # pineal gland
    ((19.0, -4.0, -1.0), 4.0, 0.3),  # globus pallidus
    ((8.0, 20.0, 55.0), 25.0, 0.3),  # falx and dura, here and there
    ((30.0, -20.0, 30.0), 30.0, 0.5),  # anywhere in the hemispheres
)
"""Centres in the template (right side, mm), their scatter (mm), and how often a side of a head has one there."""
