//! Strings that have broken programs, of our own making.

/// Name and text.
pub(super) const NAUGHTY: &[(&str, &str)] = &[
    ("plain", "plain text"),
    ("blanks", " \t two  blanks and a tab\t "),
    ("line ends", "a\nb\r\nc\rd\n\n"),
    ("line separators", "a\u{2028}b\u{2029}c\u{85}d"),
    (
        "quotes and slashes",
        "\"'`\\/\\\\\\\"${HOME} $(id) `id` %s %n {0} {{x}}",
    ),
    ("json", "{\"task\":\"x\",\"a\":[1,null]}\u{0}"),
    ("json that is cut", "{\"a\":\"\\ud83d"),
    ("escapes as text", "\\u0000 \\ud83d \\n \\x41 \\\\ud83d\\ude00"),
    (
        "fences",
        "```json\n{}\n```\n# Task\nother\n# Context\n```json\n{\"a\":1}\n```",
    ),
    ("events", "data: x\n\nevent: done\ndata: [DONE]\n\n: comment"),
    ("markup", "<script>alert(1)</script><!-- --><![CDATA[x]]>&amp;&#0;"),
    (
        "looks like a value",
        "null true false NaN Infinity 1e999 -0 0x10 01 1,000.00",
    ),
    (
        "sql and paths",
        "'; DROP TABLE runs; -- ../../etc/passwd C:\\CON ~/.ssh",
    ),
    ("controls", "\u{1}\u{7}\u{8}\u{b}\u{c}\u{1f}\u{7f}"),
    ("c1 controls", "\u{80}\u{9b}31m\u{9d}0;x\u{9c}"),
    ("nul", "a\0b\0"),
    ("terminal", "\u{1b}[2J\u{1b}[31mred\u{1b}]0;title\u{7}\u{1b}c"),
    ("byte order marks", "\u{feff}a\u{feff}b"),
    ("emoji", "😀 👍🏽 👩‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🏴‍☠️ ❤️‍🔥 🇩🇪🇫🇷 1️⃣ ☺︎ 🫱🏼‍🫲🏿"),
    ("flag of tags", "🏴󠁧󠁢󠁷󠁬󠁳󠁿"),
    ("tags", "hello\u{e0001}\u{e0068}\u{e0069}\u{e007f}"),
    ("selectors with data", "a\u{fe0f}\u{fe00}\u{fe01}\u{e0100}\u{e01ef}"),
    ("joiners with data", "a\u{200d}\u{200d}\u{200c}\u{200b}\u{2060}b"),
    (
        "direction",
        "user\u{202e}txt.exe\u{202c} \u{2066}iso\u{2069} \u{202a}open \u{2069}\u{202c}\u{202c}",
    ),
    ("right to left", "مرحبا بالعالم שלום עולם می‌خواهم"),
    ("india and south-east asia", "नमस्ते क्‍ष ശ്രീ ശ്‍രീ ภาษาไทย မြန်မာ ខ្មែរ"),
    ("east asia", "日本語テキスト 中文，标点。 한국어 각 葛󠄀 𠮷野家"),
    ("marks on marks", "Z̷̙̹̈́a̶̛̦͌l̵̰̃g̸̝̉o̷̱̚ e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}"),
    ("same looks", "é e\u{301} ﬁ fi Ａ A а a ſ s K K"),
    ("case changes length", "İ ı ẞ ß ŉ ǰ ΐ ﬃ"),
    (
        "ends of planes",
        "\u{d7ff}\u{e000}\u{fdd0}\u{fffd}\u{fffe}\u{ffff}\u{10000}\u{1fffe}\u{10ffff}",
    ),
    ("private use", "\u{e000}\u{f8ff}\u{f0000}\u{10fffd}"),
    ("mathematical", "𝕿𝖊𝖝𝖙 𝓽𝓮𝔁𝓽 ⓣⓔⓧⓣ"),
    ("object replacement", "\u{fffc}\u{fff9}a\u{fffa}b\u{fffb}"),
    ("soft hyphens and fillers", "a\u{ad}b\u{115f}\u{3164}\u{ffa0}\u{2800}"),
];
