"""What tissues, blood, iron and calcium are to a susceptibility-weighted scan at 3 T.

Susceptibilities are volume susceptibilities in ppm (SI) relative to water, typical values of the literature:

- air: +9.4, from the -9.05 ppm of water (Schenck, Med Phys 1996; 23: 815).
- the skull and fat: about -2 for compact bone, so -1.2 with marrow, and +0.6 (Schenck 1996).
- grey and white matter, deep nuclei: reviews of quantitative susceptibility mapping (Haacke et al., Magn Reson Imaging
  2015; 33: 1; Langkammer et al., NeuroImage 2012; 62: 1593), relative to fluid.
- venous blood: +0.3 to +0.45 for an oxygenation of 55 to 70 % and a haematocrit of 0.40 to 0.45
  (Weisskoff and Kiihne, Magn Reson Med 1992; 24: 375; Spees et al., Magn Reson Med 2001; 45: 533).
- relaxation: R2* of brain tissue grows by about 130 /s for each ppm at 3 T (Langkammer et al. 2012).

Proton densities, T1 and T2* at 3 T are rounded typical values (Stanisz et al., Magn Reson Med 2005; 54: 507;
Peters et al., Magn Reson Imaging 2007; 25: 748). Those of grey and white matter, and their susceptibilities, are close
to the head phantom of Marques et al. (Magn Reson Med 2021; 86: 526).
"""

from __future__ import annotations

from dataclasses import dataclass

AIR_PPM = 9.4
R2STAR_PER_PPM = 130.0
"""Increase of R2*, in 1/s, for each ppm of iron or calcium, at 3 T."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a voxel may hold.

    Attributes:
        density: proton density relative to water, 0 to 1.
        t1_ms, t2star_ms: relaxation times at 3 T in milliseconds.
        chi_ppm: susceptibility relative to water in ppm.
    """

    density: float
    t1_ms: float
    t2star_ms: float
    chi_ppm: float


TISSUES = {
    "csf": Material(density=1.0, t1_ms=4000, t2star_ms=300, chi_ppm=0.0),
    "gm": Material(density=0.83, t1_ms=1350, t2star_ms=60, chi_ppm=0.02),
    "wm": Material(density=0.70, t1_ms=850, t2star_ms=48, chi_ppm=-0.03),
    "bone": Material(density=0.1, t1_ms=500, t2star_ms=5, chi_ppm=-1.2),
    "fat": Material(density=0.6, t1_ms=380, t2star_ms=25, chi_ppm=0.6),
    "muscle": Material(density=0.75, t1_ms=1400, t2star_ms=28, chi_ppm=0.0),
    "eye": Material(density=0.95, t1_ms=4000, t2star_ms=200, chi_ppm=0.0),
}
"""The maps of a head that hold signal."""

BLOOD = Material(density=0.85, t1_ms=1600, t2star_ms=21, chi_ppm=0.37)
"""Venous blood; its susceptibility is drawn anew for each subject, from 0.30 to 0.45 ppm."""
VENOUS_PPM = (0.30, 0.45)

NUCLEI = (
    ((19.0, -4.0, -1.0), (5.0, 8.0, 5.5), 0.14),  # globus pallidus
    ((26.0, 3.0, 1.0), (5.0, 13.0, 8.0), 0.06),  # putamen
    ((13.0, 12.0, 10.0), (4.5, 9.0, 8.0), 0.05),  # head of the caudate nucleus
    ((5.0, -20.0, -9.0), (3.0, 3.5, 4.0), 0.11),  # red nucleus
    ((10.0, -18.0, -12.0), (4.0, 5.5, 3.0), 0.13),  # substantia nigra
    ((15.0, -57.0, -34.0), (7.0, 5.0, 5.0), 0.09),  # dentate nucleus
)
"""Centres in the template (right side, mm), radii (mm) and excess susceptibility (ppm) of nuclei that hold iron."""
