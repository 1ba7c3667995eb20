"""How a declared data set (`Profile`) finds its scans among the names of files."""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.sources.label_tables import Labels, LabelTable, UserLabels, named_table
from mrigen.sources.listing import is_scan_name
from mrigen.sources.options import DEFAULT_ORIENTATION, SourceOptions
from mrigen.sources.scans import ClaimedFiles, Rejected, Scan
from mrigen.sources.tables import TABLE_SUFFIXES
from mrigen.storage import Location

TERMS = "see the data set's terms"


@dataclass(frozen=True)
class Profile:
    """How one data set names its files, and where it tells their pathology.

    Patterns are regular expressions for the last parts of a path, from the start of a folder's or file's name to the
    end. Of groups that do not match, the text is empty.
    """

    name: str
    pattern: str
    """Of a scan; groups: subject; and where there are any: site (within which subjects are counted), session, token
    (the contrast), form (one of `forms`)."""
    pathology: Pathology | LabelTable
    modalities: Mapping[str, Modality] = field(default_factory=dict)
    """Token, in small letters -> contrast, where no usual spelling tells; tokens that nobody knows are left out."""
    licence: str = TERMS
    masks: tuple[str, ...] = ()
    """Names of lesion masks and other labels."""
    others: tuple[str, ...] = ()
    """Names of files that are known and of no use here."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Names of scans that are not what the set's name promises -> what they are."""
    brain_mask: tuple[str, ...] = ()
    """Where a brain mask may lie, from the scan's folder, made of the groups."""
    lesions: tuple[str, ...] = ()
    """Likewise, labels of lesions in the space of the scan."""
    frames: tuple[Modality, ...] = ()
    """Contrasts along the fourth axis, instead of a token."""
    forms: tuple[str, ...] = ("",)
    """Forms in which the set has the same scan, the one to take first."""
    unmarked_forms: tuple[str, ...] = ()
    """Those that do not lie in the space of the `lesions`."""
    family: str = ""
    """Profiles of one family hold the same scans in other forms; the one declared first is taken."""
    beside: str = ""
    """A name that must lie in the same folder, where the set's own names say little."""


@dataclass(frozen=True)
class _Match:
    profile: Profile
    path: str
    groups: Mapping[str, str]
    modalities: tuple[Modality, ...]

    @property
    def subject(self) -> str:
        site, subject = self.groups.get("site", ""), self.groups["subject"]
        return f"{site.replace('/', '-')}-{subject}" if site else subject

    @property
    def scan_key(self) -> tuple[object, ...]:
        """The same for the forms of one scan."""
        family = self.profile.family or self.profile.name
        return family, self.subject, self.groups.get("session", ""), self.modalities


def find_profile_scans(
    folder: Location, files: Iterable[str], profiles: Sequence[Profile], options: SourceOptions
) -> list[ClaimedFiles]:
    """What each data set finds among `files`, paths relative to `folder`; a file is of the first set that knows it.

    The folders above count too, so that a user may name the folder of one subject. Of several forms of a scan one is
    taken.

    Raises InputError if the table that the options name is missing.
    """
    known = frozenset(files)
    paths = sorted(filter(is_scan_name, known))
    hallmarks = {
        profile.name: {posixpath.dirname(path) for path in paths if _is_named(profile.beside, path)}
        for profile in profiles
        if profile.beside
    }
    claims = {profile.name: ClaimedFiles(profile.name, set()) for profile in profiles}
    matches: list[_Match] = []
    for path in paths:
        full = posixpath.join(folder.path, path)
        for profile in profiles:
            if profile.beside and posixpath.dirname(path) not in hallmarks[profile.name]:
                continue
            if _take(profile, path, full, claims[profile.name], matches):
                claims[profile.name].paths.add(path)
                break
    best = _best_forms(matches, profiles)
    label = _Labelling(folder, known, options)
    for match in matches:
        claim = claims[match.profile.name]
        if match.path not in best:
            claim.notes["other forms of the same scans"] += 1
            continue
        full = posixpath.join(folder.path, match.path)
        if pathology := claim.pathology(full, functools.partial(label, match)):
            claim.scans.extend(_scans(match, folder, known, pathology, options))
    for claim in claims.values():
        _tell_masks(claim, [match for match in matches if match.profile.name == claim.kind], folder, known)
    return [claim for claim in claims.values() if claim.paths]


def _tell_masks(claim: ClaimedFiles, matches: Sequence[_Match], folder: Location, known: frozenset[str]) -> None:
    """Note why masks go with no scan, if any do."""
    taken = {scan.path: scan.lesions for scan in claim.scans}
    why: dict[str, str] = {}
    for match in matches:
        lesions = taken.get(posixpath.join(folder.path, match.path))
        reason = "in another space than the scans" if lesions == "" else "beside one that is taken"
        for name in match.profile.lesions:
            mask = _beside(match, folder, known, [name])
            why.setdefault(mask, "of scans that are not taken" if lesions is None else reason)
    for mask in set(claim.masks) - set(taken.values()):
        claim.notes[f"masks {why.get(mask, 'of other raters, or of no scan here')}"] += 1


def _take(profile: Profile, path: str, full: str, claim: ClaimedFiles, matches: list[_Match]) -> bool:
    """Whether a profile knows the name of a file, which is then among the matches or told in the claim."""
    refused = next((reason for name, reason in profile.refused.items() if _ends(name, full)), None)
    match = None if refused else _match(profile, path, full)
    if refused:
        told = f"{refused}; if it is one of the four pathologies, list it in a manifest"
        claim.rejected.append(Rejected.because(full, told, "label"))
    elif match:
        matches.append(match)
    elif any(_ends(name, full) for name in profile.masks):
        claim.masks.append(full)
    elif any(_ends(name, full) for name in profile.others):
        claim.notes["other files left out"] += 1
    else:
        return False
    return True


def _is_named(pattern: str, path: str, flags: re.RegexFlag = re.NOFLAG) -> bool:
    return bool(re.fullmatch(pattern, posixpath.basename(path), flags))


def _ends(pattern: str, path: str) -> re.Match[str] | None:
    return re.search(f"(?:^|/)(?:{pattern})$", path)


def _match(profile: Profile, path: str, full: str) -> _Match | None:
    found = _ends(profile.pattern, full)
    if not found:
        return None
    groups = {name: text or "" for name, text in found.groupdict().items()}
    if profile.frames:
        return _Match(profile, path, groups, profile.frames)
    token = groups.get("token", "")
    try:
        modality = profile.modalities.get(token.casefold()) or Modality.parse(token)
    except InputError:
        return None
    return _Match(profile, path, groups, (modality,))


def _best_forms(matches: Sequence[_Match], profiles: Sequence[Profile]) -> set[str]:
    """Paths of the scans to take: of each the form that comes first."""
    order = {profile.name: place for place, profile in enumerate(profiles)}
    ranks: dict[tuple[object, ...], tuple[int, int]] = {}

    def rank(match: _Match) -> tuple[int, int]:
        return order[match.profile.name], match.profile.forms.index(match.groups.get("form", ""))

    for match in matches:
        ranks[match.scan_key] = min(rank(match), ranks.get(match.scan_key, rank(match)))
    return {match.path for match in matches if rank(match) == ranks[match.scan_key]}


def _scans(
    match: _Match, folder: Location, known: frozenset[str], pathology: Pathology, options: SourceOptions
) -> Iterable[Scan]:
    profile = match.profile
    marked = match.groups.get("form", "") not in profile.unmarked_forms
    mask = _beside(match, folder, known, profile.brain_mask)
    lesions = _beside(match, folder, known, profile.lesions) if marked else ""
    for frame, modality in enumerate(match.modalities):
        yield Scan(
            path=posixpath.join(folder.path, match.path),
            subject=match.subject,
            session=match.groups.get("session", ""),
            source=profile.name,
            pathology=pathology,
            modality=Modality(options.modality) if options.modality else modality,
            licence=profile.licence,
            frame=frame if profile.frames else None,
            mask=mask,
            lesions=lesions,
            orientation=options.orientation or DEFAULT_ORIENTATION if match.path.endswith(".hdr") else "",
        )


def _beside(match: _Match, folder: Location, known: frozenset[str], names: Sequence[str]) -> str:
    """The first file that is there of some `names`, which start from the scan's folder; empty if there is none."""
    around = posixpath.dirname(match.path)
    paths = (posixpath.normpath(posixpath.join(around, name.format_map(match.groups))) for name in names)
    return next((posixpath.join(folder.path, path) for path in paths if path in known), "")


class _Labelling:
    """Who tells the pathology of a match: the user, a table that the user named, or the set itself."""

    def __init__(self, folder: Location, known: frozenset[str], options: SourceOptions) -> None:
        self.folder, self.options = folder, options
        self._named = named_table(folder, options.table) if options.table else None
        self._tables = sorted(name for name in known if name.casefold().endswith(TABLE_SUFFIXES))
        self._read: dict[tuple[str, str], Labels | UserLabels | InputError] = {}

    def __call__(self, match: _Match) -> Pathology | None:
        """The pathology, or None if the scan is to be skipped. Raises InputError."""
        told = match.profile.pathology
        if self.options.pathology:
            return Pathology(self.options.pathology)
        if isinstance(told, Pathology) and not self._named:
            return told
        file = self._named or self._nearest_table(match)
        key = (match.profile.name, file.path)
        if key not in self._read:
            self._read[key] = self._open(file, told)
        labels = self._read[key]
        if isinstance(labels, InputError):
            raise labels
        return labels({"session": "", **match.groups, "subject": match.subject})

    def _open(self, file: Location, told: Pathology | LabelTable) -> Labels | UserLabels | InputError:
        """A table as the set has it, or as the user does who named its columns; what is wrong with it, else."""
        columns_named = self._named and (self.options.subject_column or self.options.pathology_column)
        try:
            if isinstance(told, LabelTable) and not columns_named:
                return Labels(file, told, self.options)
            return UserLabels(file, self.options)
        except InputError as error:
            return error

    def _nearest_table(self, match: _Match) -> Location:
        """Of the tables with the name that the profile tells, the one whose folder is nearest to the scan's."""
        assert isinstance(match.profile.pathology, LabelTable)
        wanted = match.profile.pathology.file
        tables = [name for name in self._tables if _is_named(wanted, name, re.IGNORECASE)]
        if not tables:
            told = wanted.replace(".*", "*").replace("\\", "")
            raise InputError(f"the pathology is in a table, {told}, which is not here: name it by table=FILE")

        def distance(name: str) -> tuple[int, int, str]:
            shared = posixpath.commonprefix([name.split("/")[:-1], match.path.split("/")[:-1]])
            return -len(shared), name.count("/"), name

        return self.folder / min(tables, key=distance)
