"""Errors of licensing."""

from paddock_controlplane.problems import Conflict, Forbidden, Invalid, NotFound, Unauthorized


class LicenseUnknown(NotFound):
    code, title = "LicenseUnknown", "The catalogue has no such license"


class ModelUnknown(NotFound):
    code, title = "ModelUnknown", "The catalogue has no such model"


class TextMismatch(Invalid):
    code, title = "TextMismatch", "These are not the words that the catalogue pins"


class TextNotImported(Conflict):
    code, title = "TextNotImported", "The license's text is not imported"


class LicenseEnded(Conflict):
    code, title = "LicenseEnded", "The license of this entity is suspended or terminated"


class NotTheOperator(Invalid):
    code, title = "NotTheOperator", "Only the operator's entity accepts as operator"


class SignatoryRequired(Forbidden):
    code, title = "SignatoryRequired", "Only the signatory of the offer may accept it"


class TenantAdminRequired(Forbidden):
    code, title = "TenantAdminRequired", "Only an administrator of the entity's own tenant may ask for its link"


class TokenMayNotSign(Forbidden):
    code, title = "TokenMayNotSign", "An admin token from the platform issues no links of signatories"


class OfferUnknown(NotFound):
    code, title = "OfferUnknown", "There is no such offer"


class SignatoryMissing(Invalid):
    code, title = "SignatoryMissing", "An offer with a link names the person who signs"


class LinkUnknown(Unauthorized):
    code, title = "LinkUnknown", "This link does not open anything"


class LinkOpened(Conflict):
    code, title = "LinkOpened", "This link was opened before"


class LinkReplaced(Conflict):
    code, title = "LinkReplaced", "A newer link stands in the place of this one"


class OfferUsed(Conflict):
    code, title = "OfferUsed", "This offer was already accepted"


class OfferStale(Conflict):
    code, title = "OfferStale", "This offer is no longer valid"


class AnswerMissing(Invalid):
    code, title = "AnswerMissing", "A question of the offer is not answered, or not as asked"


class AcceptanceUnknown(NotFound):
    code, title = "AcceptanceUnknown", "There is no such acceptance"


class AcceptanceEnded(Conflict):
    code, title = "AcceptanceEnded", "This acceptance has already ended"


class DecisionDenied(Forbidden):
    code, title = "DecisionDenied", "The license decision is deny"


class StatementUnknown(NotFound):
    code, title = "StatementUnknown", "There is no statement to correct"


class GrantUnknown(NotFound):
    code, title = "GrantUnknown", "There is no such grant"


class GrantUnusable(Invalid):
    code, title = "GrantUnusable", "The grant cannot be recorded or used like this"


class ReviewerExists(Conflict):
    code, title = "ReviewerExists", "This person is a reviewer already"


class ReviewerUnknown(NotFound):
    code, title = "ReviewerUnknown", "There is no such reviewer"


class ReviewTwice(Conflict):
    code, title = "ReviewTwice", "Two different people review a grant"
