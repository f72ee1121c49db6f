"""The hierarchy of errors.  A class's docstring is the message of an error that is raised without one."""

from __future__ import annotations


class ElasticError(Exception):
    """Something went wrong in the image classifier."""

    # Of a command that ends with this error.
    exit_status = 1

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class ArgumentError(ElasticError):
    """An argument has a value that cannot be used."""

    # As for wrong usage of the command line: nothing was tried.
    exit_status = 2


class SettingsError(ArgumentError):
    """A setting has a value that cannot be used."""


class NotConnectedError(ArgumentError):
    """There is no cloud to talk to."""


class DecodeError(ElasticError):
    """A message or a result does not have the form that this program writes."""


class NoPhotosError(ArgumentError):
    """There is no image to classify."""


class BundleError(ArgumentError):
    """The model bundle is incomplete, altered or of an unknown form."""


class TrainingError(ArgumentError):
    """The model cannot be trained with these arguments."""


class CloudError(ElasticError):
    """A cloud service refused or failed; trying again later may help."""


class SpoolError(CloudError):
    """There is no room for uploaded files in the temporary folder."""


class NotFoundError(CloudError):
    """The requested object does not exist."""


class DeniedError(CloudError):
    """The object may not be read, which trying again does not change: no permission, or it is archived."""


class AlreadyExistsError(CloudError):
    """An object with that key exists already."""


class ExpiredCredentialsError(CloudError):
    """The credentials for the cloud have ended."""


class ConflictError(CloudError):
    """The object was changed by another writer first."""


class ImageError(ElasticError):
    """The file cannot be classified.

    Every subclass has a stable `code` for programs and a message for people.
    The error concerns one image; the rest of its batch is classified.
    """

    code = "image_error"


class EmptyImageError(ImageError):
    """the file is empty"""

    code = "empty"


class ImageTooLargeError(ImageError):
    """the file is larger than the limit"""

    code = "too_large"


class NotAnImageError(ImageError):
    """the file is not an image of a known format"""

    code = "not_an_image"


class TooManyPixelsError(ImageError):
    """the image has more pixels than the limit"""

    code = "too_many_pixels"


class ExtremeAspectError(ImageError):
    """the image is too long for its width"""

    code = "extreme_aspect"


class BrokenImageError(ImageError):
    """the image is damaged or incomplete"""

    code = "broken"


class UnsupportedImageError(ImageError):
    """the image has a layout that cannot be read"""

    code = "unsupported"


class UnreadableImageError(ImageError):
    """the file cannot be read from S3"""

    code = "unreadable"


class DecoderCrashError(ImageError):
    """the file crashes its decoder"""

    code = "gave_up"


class MissingImageError(ImageError):
    """the uploaded image is no longer stored"""

    code = "missing"


class BrokenArchiveError(ImageError):
    """the archive is damaged or incomplete"""

    code = "broken_archive"


class ArchiveTooLargeError(ImageError):
    """the archive is larger than the limit"""

    code = "archive_too_large"


class EmptyArchiveError(ImageError):
    """there is no image in the archive"""

    code = "empty_archive"


class NestedArchiveError(ImageError):
    """an archive within an archive is not opened"""

    code = "nested_archive"


class EncryptedMemberError(ImageError):
    """the image is encrypted; archives with a password are not opened"""

    code = "encrypted"


class UnsupportedCompressionError(ImageError):
    """the image is compressed by a method other than deflate; create the archive again as a plain ZIP"""

    code = "unsupported_compression"


class EvaluationError(ArgumentError):
    """There is nothing to evaluate."""


class ExportError(ElasticError):
    """The model cannot be exported to a bundle."""
