"""Wrong DICOM studies, each in a folder of its own, and what the line about it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import MPEG2MPML, UID, JPEGLossless

from tests.cohort.dicom.files import (
    CAPTURE,
    PIXELS,
    SHAPE,
    image,
    save,
    to_mm,
    uid,
    write_contours,
    write_enhanced,
    write_seg,
    write_series,
)
from tests.faults.wrong import Wrong

Study = tuple[Path, int]
"""The folder of a study, and a number of its own."""
Edit = Callable[[Any, int], object]
LABEL = np.zeros(SHAPE, np.uint8)
LABEL[2:4, 1:3, 1:3] = 1
SQUARE = [(1.5, 0.5, 1), (5.5, 0.5, 1), (5.5, 4.5, 1), (1.5, 4.5, 1)]


def wrong_studies() -> Iterator[Wrong[Study]]:
    """Yield wrong studies; each is to be left out and listed."""
    yield from _places()
    yield from _headers()
    yield from _files()
    yield from _claims()
    yield from _segmentations()
    yield from _contours()


def _ids(number: int) -> dict[str, Any]:
    return {"study": number, "patient": f"p{number % 3}"}


def _series(name: str, told: str, edit: Edit | None = None, **options: Any) -> Wrong[Study]:
    def make(place: Study) -> None:
        folder, number = place
        write_series(folder, edit=edit, **{"order": range(4)} | options | _ids(number))

    return Wrong(name=name, told=told, make=make)


def _set(first: int = 0, last: int = 99, **values: Any) -> Edit:
    """Return an edit that sets attributes of some slices; ``None`` deletes one."""

    def edit(content: Any, number: int) -> None:
        for name, value in values.items():
            if first <= number <= last and value is None:
                delattr(content, name)
            elif first <= number <= last:
                setattr(content, name, value)

    return edit


def _moved(axis: int, step: Callable[[int], float]) -> Edit:
    def edit(content: Any, number: int) -> None:
        content.ImagePositionPatient[axis] = float(content.ImagePositionPatient[axis]) + step(number)

    return edit


def _smaller(content: Any, number: int) -> None:
    if number == 1:
        image(content, PIXELS[:6, :, 0].T.copy())


def _places() -> Iterator[Wrong[Study]]:
    more = np.concatenate([PIXELS, PIXELS], axis=2)
    yield _series("a missing slice", "1 slice of its series is missing between IM0900 and IM0898", order=[0, 2, 3])
    yield _series("missing slices", "2 slices of its series are missing", pixels=more, order=[0, 1, 2, 5, 6])
    yield _series("a doubled slice", "1 of 4 slices are doubled", _moved(2, lambda n: -3.0 * (n == 3)))
    yield _series("every slice doubled", "slices are doubled", _moved(2, lambda n: -3.0 * n))
    yield _series("unequal distances", "3 to 4.5 mm apart", _moved(2, lambda n: 1.5 * (n == 3)))
    yield _series("slices shifted against each other", "shifted against each other by", _moved(0, lambda n: 4.0 * n))
    yield _series("mixed sizes", "is 6 × 6 pixels large, and IM0897 of the same series 8 × 6", _smaller)
    turned = _set(1, 1, ImageOrientationPatient=[1, 0, 0, 0, 1, 0])
    yield _series("mixed orientations", "has another orientation than", turned)
    sagittal = _set(2, ImageOrientationPatient=[0, 1, 0, 0, 0, -1])
    yield _series("axial and sagittal slices", "has another orientation than", sagittal)
    yield _series("mixed spacings", "has another spacing than", _set(2, 2, PixelSpacing=[1, 1]))
    yield _series("a spacing of 0", "spacing is impossible", _set(PixelSpacing=[0, 1]))
    yield _series("a negative spacing", "spacing is impossible", _set(PixelSpacing=[-1, 1]))
    yield _series(
        "directions that are no units",
        "orientation or spacing is impossible",
        _set(ImageOrientationPatient=[2, 0, 0, 0, 1, 0]),
    )
    yield _series(
        "directions that are not at right angles",
        "orientation or spacing is impossible",
        _set(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]),
    )
    for name in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient"):
        yield _series(
            f"no {name}", f"no series of its study is a volume: 4 files are without {name}", _set(**{name: None})
        )
        yield _series(
            f"no {name} in one slice", f"1 of 4 slices of its series are without {name}", _set(3, **{name: None})
        )
    yield _series(
        "a position of NaN", "4 files are without ImagePositionPatient", _set(ImagePositionPatient=[float("nan"), 0, 0])
    )
    yield _series(
        "a position of two numbers", "4 files are without ImagePositionPatient", _set(ImagePositionPatient=[0, 0])
    )


def _headers() -> Iterator[Wrong[Study]]:
    unread = "cannot be read as DICOM"
    yield _series("a slope of 0", "its slope 0 or intercept 0 is impossible", _set(RescaleSlope=0))
    yield _series("an infinite intercept", "is impossible", _set(RescaleIntercept=float("inf")))
    table = Dataset()
    table.add_new("LUTDescriptor", "US", [256, 0, 16])
    table.add_new("LUTData", "US", [3 * value for value in range(256)])
    yield _series("a table of values", "keeps its values in a table", _set(ModalityLUTSequence=Sequence([table])))
    for name in ("SOPClassUID", "SeriesInstanceUID", "StudyInstanceUID"):
        yield _series(f"no {name}", f"its header has no {name}", _set(0, 0, **{name: ""}), order=[0])
    yield _series("no rows", "its header ends before the image", _set(Rows=0), order=[0])
    yield _series("no PixelData", "IM0900: holds no PixelData", _set(PixelData=None), order=[0])
    yield _series("PixelData of nothing", "holds no PixelData", _set(PixelData=b""), order=[0])
    for bits in (12, 3, 64, 0):
        yield _series(
            f"{bits} bits allocated",
            "BitsAllocated|Bits Allocated|fewer|less than expected",
            _set(BitsAllocated=bits),
            order=[0],
        )
    yield _series("more bits stored than allocated", "[Bb]its", _set(BitsStored=17), order=[0])
    yield _series("no sign", unread, _set(PixelRepresentation=None), order=[0])
    yield _series(
        "an unknown photometric interpretation", "Photometric", _set(PhotometricInterpretation="GREY"), order=[0]
    )
    yield _series("no photometric interpretation", "[Pp]hotometric", _set(PhotometricInterpretation=None), order=[0])
    yield _series(
        "frames without places", "1 files are without the places of its frames", _set(NumberOfFrames=4), order=[0]
    )


def _files() -> Iterator[Wrong[Study]]:
    def written(change: Callable[[Path], object]) -> Callable[[Study], None]:
        def make(place: Study) -> None:
            folder, number = place
            write_series(folder, order=[0], **_ids(number))
            change(folder / "IM0900")

        return make

    def cut(keep: int) -> Callable[[Path], object]:
        return lambda path: path.write_bytes(path.read_bytes()[:keep])

    def before(mark: bytes) -> Callable[[Path], object]:
        return lambda path: path.write_bytes(path.read_bytes()[: path.read_bytes().index(mark)])

    def instead(name: str, content: bytes) -> Callable[[Path], object]:
        return lambda path: path.rename(path.with_name(name)).write_bytes(content)

    def without(name: str) -> Callable[[Path], object]:
        def change(path: Path) -> None:
            content = dcmread(path)
            delattr(content, name)
            save(content, path)

        return change

    again = "copy or export it again"
    for name, told, change in (
        ("cut in its pixels", "cannot be read as DICOM", cut(-20)),
        ("cut in its header", again, cut(200)),
        ("cut before the image", "its header ends before the image", before(b"\x28\x00\x02\x00US")),
        ("empty", r"x.dcm: is no DICOM file \(empty\)", instead("x.dcm", b"")),
        ("a text", r"x.dcm: is no DICOM file \(it lacks DICM", instead("x.dcm", b"no image" * 100)),
        ("zeros after the mark", again, instead("x", bytes(128) + b"DICM" + bytes(400))),
        ("without BitsAllocated", "BitsAllocated", without("BitsAllocated")),
        ("a mark alone", again, instead("x", bytes(128) + b"DICM")),
        ("a PNG", r"\(PNG\); import them as slices", instead("x.dcm", b"\x89PNG\r\n\x1a\n" + bytes(200))),
        ("a ZIP", r"\(ZIP\)", instead("x.ima", b"PK\x03\x04" + bytes(200))),
    ):
        yield Wrong(name=f"a file {name}", told=told, make=written(change))

    def packed(syntax: UID) -> Edit:
        def edit(content: Any, _: int) -> None:
            content.file_meta.TransferSyntaxUID = syntax
            content.PixelData = encapsulate([bytes(40)])

        return edit

    yield _series("damaged lossless JPEG", "is compressed as .*gdcmconv", packed(JPEGLossless), order=[0])
    yield _series("an unknown compression", "is compressed as .*gdcmconv", packed(MPEG2MPML), order=[0])
    capture = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}
    hounsfield = _set(PhotometricInterpretation="MONOCHROME1", Modality="CT")
    yield _series("inverted Hounsfield units", "is MONOCHROME1, where low values are bright", hounsfield)
    yield _series(
        "a colour capture for every slice", "no series of its study is a volume", _set(**capture), sop_class=CAPTURE
    )


def _claims() -> Iterator[Wrong[Study]]:
    def enhanced(frames: int, **values: Any) -> Callable[[Study], None]:
        def make(place: Study) -> None:
            folder, number = place
            path = write_enhanced(folder / "one", frames=frames, **_ids(number))
            content = dcmread(path)
            content.update({})
            for name, value in values.items():
                setattr(content, name, value)
            save(content, path)

        return make

    vast = {"Rows": 30000, "Columns": 30000}
    yield Wrong(name="vast frames", told="claims 7200000000 bytes", make=enhanced(4, **vast), claims=True)
    yield Wrong(name="30000 frames", told="claims 30000 frames, and says of 4", make=enhanced(30000), claims=True)
    yield Wrong(name="frames below 1", told="claims -4 frames, and says of 4", make=enhanced(-4), claims=True)
    slices = _series("vast slices", "its header claims 1800000000 bytes", _set(**vast))
    yield Wrong(name=slices.name, told=slices.told, make=slices.make, claims=True)

    def packed(content: Any, _: int) -> None:
        content.Rows = content.Columns = 60000
        content.file_meta.TransferSyntaxUID = JPEGLossless
        content.PixelData = encapsulate([bytes(40)])

    vast_packed = _series("vast packed slices", "its header claims 7200000000 bytes", packed, order=[0])
    yield Wrong(name=vast_packed.name, told=vast_packed.told, make=vast_packed.make, claims=True)


def _segmentations() -> Iterator[Wrong[Study]]:
    def segmented(edit: Callable[[Any], object], **options: Any) -> Callable[[Study], None]:
        def make(place: Study) -> None:
            folder, number = place
            sources = write_series(folder / "scan", **_ids(number))

            def own(content: Any) -> None:
                content.SOPInstanceUID = content.file_meta.MediaStorageSOPInstanceUID = uid(number, 78)
                content.SeriesInstanceUID = uid(number, 77)
                edit(content)

            write_seg(
                folder / "seg",
                sources,
                options.get("label", LABEL),
                ["core"],
                kind=options.get("kind", "BINARY"),
                edit=own,
            )

        return make

    def elsewhere(content: Any) -> None:
        for frame in content.PerFrameFunctionalGroupsSequence:
            position = frame.PlanePositionSequence[0].ImagePositionPatient
            position[2] = float(position[2]) + 1.5

    def unplaced(content: Any) -> None:
        for frame in content.PerFrameFunctionalGroupsSequence:
            del frame.PlanePositionSequence

    def unnumbered(content: Any) -> None:
        for frame in content.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence = Sequence([Dataset()])
            frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 7

    def unidentified(content: Any) -> None:
        for frame in content.PerFrameFunctionalGroupsSequence:
            frame.SegmentIdentificationSequence = Sequence([Dataset()])

    def foreign(content: Any) -> None:
        content.FrameOfReferenceUID = uid(9, 9)

    def nowhere(content: Any) -> None:
        content.ReferencedSeriesSequence[0].SeriesInstanceUID = uid(9, 9)

    def fewer(content: Any) -> None:
        del content.PerFrameFunctionalGroupsSequence[-1]

    def nameless(content: Any) -> None:
        del content.SegmentSequence

    def cut(content: Any) -> None:
        content.PixelData = content.PixelData[:2]

    def vast(content: Any) -> None:
        content.NumberOfFrames, content.Rows, content.Columns = 30000, 30000, 30000

    soft = LABEL * np.float32(0.4)
    for name, told, edit, options in (
        ("between the slices", r"its frame \d lies on no slice of the series of IM0900", elsewhere, {}),
        ("of another series", "refers to a series that is no volume in the folder; add that series", nowhere, {}),
        ("in another frame of reference", "lies in another frame of reference", foreign, {}),
        ("cut", "seg: cannot be read", cut, {}),
        ("without places", "does not say where its frame 1 lies", unplaced, {}),
        (
            "of a segment that is not there",
            "seg: holds a frame of the segment 7, which it does not name",
            unnumbered,
            {},
        ),
        ("of frames without a segment", "seg: holds a frame of the segment None", unidentified, {}),
        ("with fewer places than frames", "claims 2 frames, and says of 1 where they lie", fewer, {}),
        ("without segments", "seg: names no segment or contour", nameless, {}),
        (
            "of fractions",
            "fractional segmentation; .*--binary-masks",
            lambda content: None,
            {"label": soft, "kind": "FRACTIONAL"},
        ),
    ):
        yield Wrong(name=f"a SEG {name}", told=told, make=segmented(edit, **options))
    yield Wrong(name="a vast SEG", told="claims 3375000000000 bytes", make=segmented(vast), claims=True)


def _contours() -> Iterator[Wrong[Study]]:
    def drawn(
        points: Any, edit: Callable[[Any], object] | None = None, *, foreign: bool = False
    ) -> Callable[[Study], None]:
        def make(place: Study) -> None:
            folder, number = place
            source = write_series(folder / "scan", **_ids(number))[0]
            frame = uid(9, 9) if foreign else None
            path = write_contours(folder / "rt", source, {"core": [to_mm(points)]}, frame_of_reference=frame)
            content = dcmread(path)
            content.SOPInstanceUID = content.file_meta.MediaStorageSOPInstanceUID = uid(number, 88)
            if edit is not None:
                edit(content)
            save(content, path)

        return make

    def contour(**values: Any) -> Callable[[Any], object]:
        def edit(content: Any) -> None:
            one = content.ROIContourSequence[0].ContourSequence[0]
            for name, value in values.items():
                setattr(one, name, value)

        return edit

    def elsewhere(content: Any) -> None:
        frame = content.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0]
        frame.RTReferencedSeriesSequence[0].SeriesInstanceUID = uid(9, 9)

    def of_nobody(content: Any) -> None:
        content.ROIContourSequence[0].ReferencedROINumber = 9

    tiny = [(1.4, 1.4, 1), (1.6, 1.4, 1), (1.6, 1.6, 1), (1.4, 1.6, 1)]
    for name, told, make in (
        ("in another frame of reference", "rt: lies in another frame of reference", drawn(SQUARE, foreign=True)),
        ("between two slices", "has a contour that lies on no slice", drawn([(x, y, 1.5) for x, y, _ in SQUARE])),
        ("above the slices", "has a contour that lies on no slice", drawn([(x, y, 9) for x, y, _ in SQUARE])),
        ("across the slices", "has a contour that lies on no slice", drawn([(x, 2, y) for x, y, _ in SQUARE])),
        (
            "that is open",
            r"a contour of 'core' encloses nothing \(OPEN_PLANAR, 4 points\); .*--mask",
            drawn(SQUARE, contour(ContourGeometricType="OPEN_PLANAR")),
        ),
        (
            "of a point",
            r"encloses nothing \(POINT, 1 points\)",
            drawn(SQUARE[:1], contour(ContourGeometricType="POINT")),
        ),
        ("of two points", r"encloses nothing \(CLOSED_PLANAR, 2 points\)", drawn(SQUARE[:2])),
        ("of half a point", "rt: cannot be read", drawn(SQUARE, contour(ContourData=["1", "2"]))),
        ("of nothing", "rt: cannot be read", drawn(SQUARE, contour(ContourData=None))),
        ("of NaN", "rt: has a contour that lies on no slice", drawn(SQUARE, contour(ContourData=["nan"] * 12))),
        ("smaller than a pixel", "no contour of 'core' holds the centre of a pixel", drawn(tiny)),
        ("of another series", "refers to a series that is no volume in the folder", drawn(SQUARE, elsewhere)),
        (
            "of a name that is not there",
            "rt: holds contours of the number 9, which it does not name",
            drawn(SQUARE, of_nobody),
        ),
    ):
        yield Wrong(name=f"a contour {name}", told=told, make=make)
