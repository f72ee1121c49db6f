"""The languages of the web tier's pages and messages, and of labels."""

from __future__ import annotations

# Code (ISO 639-1) → the language's own name.  English is the source of all messages, and the fallback.
LANGUAGES = {
    "en": "English",
    "de": "Deutsch",
    "es": "Español",
    "fr": "Français",
    "hi": "हिन्दी",
    "zh": "简体中文",
}
ENGLISH = "en"
