//! Turns HTML into text that reads: one pass, no tree, no script, and no page that can make it fail.
//!
//! Pure. Invariant: total; the result is not longer than a small multiple of the input.

/// Bytes of a link's target that is shown.
const LINK_BYTES_MAX: usize = 120;
/// Elements whose content is not for reading.
const UNREAD: [&str; 8] = [
    "script", "style", "noscript", "template", "svg", "iframe", "canvas", "object",
];
/// Elements that begin on a line of their own.
const BLOCKS: [&str; 34] = [
    "address",
    "article",
    "aside",
    "blockquote",
    "body",
    "dd",
    "details",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "header",
    "hr",
    "li",
    "main",
    "nav",
    "ol",
    "p",
    "pre",
    "section",
    "summary",
    "table",
    "tr",
    "ul",
    "figcaption",
];

/// What a page says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Readable {
    /// Its title, on one line; may be empty.
    pub(super) title: String,
    /// Its text.
    pub(super) text: String,
}

/// Reads a page.
pub(super) fn readable(html: &str) -> Readable {
    let mut writer = Writer::default();
    let mut title = String::new();
    let mut rest = html;
    while let Some(open) = rest.find('<') {
        writer.text(&rest[..open]);
        rest = &rest[open..];
        let Some(tag) = Tag::read(rest) else {
            // A bare `<` is text.
            writer.text("<");
            rest = &rest[1..];
            continue;
        };
        rest = &rest[tag.bytes..];
        if tag.is_end {
            writer.end(&tag.name);
        } else if UNREAD.contains(&tag.name.as_str()) || tag.name == "title" || tag.name == "textarea" {
            let end = find_end(rest, &tag.name);
            if tag.name == "title" && title.is_empty() {
                title = one_line(&decode(&rest[..end]));
            } else if tag.name == "textarea" {
                writer.text(&rest[..end]);
            }
            rest = &rest[end..];
        } else {
            writer.start(&tag);
        }
    }
    writer.text(rest);
    Readable {
        title,
        text: writer.finish(),
    }
}

struct Tag {
    name: String,
    is_end: bool,
    attributes: String,
    bytes: usize,
}

impl Tag {
    /// Reads a tag, comment or declaration at the beginning of `text`, which starts with `<`.
    fn read(text: &str) -> Option<Self> {
        if let Some(comment) = text.strip_prefix("<!--") {
            let bytes = comment.find("-->").map_or(text.len(), |end| end + 7);
            return Some(Self::nothing(bytes));
        }
        let after = &text[1..];
        if after.starts_with(['!', '?']) {
            let bytes = text.find('>').map_or(text.len(), |end| end + 1);
            return Some(Self::nothing(bytes));
        }
        let is_end = after.starts_with('/');
        let after = after.strip_prefix('/').unwrap_or(after);
        if !after.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return None;
        }
        let name_bytes = after
            .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .unwrap_or(after.len());
        let inside = &after[name_bytes..];
        let end = end_of_tag(inside);
        let closing = usize::from(end < inside.len());
        Some(Self {
            name: after[..name_bytes].to_ascii_lowercase(),
            is_end,
            attributes: inside[..end].to_owned(),
            bytes: text.len() - inside.len() + end + closing,
        })
    }

    fn nothing(bytes: usize) -> Self {
        Self {
            name: String::new(),
            is_end: true,
            attributes: String::new(),
            bytes,
        }
    }

    fn attribute(&self, wanted: &str) -> Option<String> {
        let mut rest = self.attributes.as_str();
        loop {
            rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
            if rest.is_empty() {
                return None;
            }
            // The first character belongs to the name whatever it is, so the loop always advances.
            let first = rest.chars().next().map_or(1, char::len_utf8);
            let name_end = rest[first..].find(|c: char| c.is_whitespace() || c == '=' || c == '/');
            let name_end = name_end.map_or(rest.len(), |end| end + first);
            let name = rest[..name_end].to_ascii_lowercase();
            rest = rest[name_end..].trim_start();
            let value = if let Some(after) = rest.strip_prefix('=') {
                let after = after.trim_start();
                let (value, left) = match after.chars().next() {
                    Some(quote @ ('"' | '\'')) => after[1..].split_once(quote).unwrap_or((&after[1..], "")),
                    _ => after.split_at(after.find(char::is_whitespace).unwrap_or(after.len())),
                };
                rest = left;
                value
            } else {
                ""
            };
            if name == wanted {
                return Some(decode(value));
            }
        }
    }
}

/// Where the tag ends; a `>` within quotes does not end it.
fn end_of_tag(inside: &str) -> usize {
    let mut quote = None;
    for (index, character) in inside.char_indices() {
        match (quote, character) {
            (None, '>') => return index,
            // Only a quote after `=` opens one: an apostrophe elsewhere must not swallow the page.
            (None, '"' | '\'') if inside[..index].trim_end().ends_with('=') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            _ => {}
        }
    }
    // An open quote to the end of the page: end at the first `>` after all.
    inside.find('>').unwrap_or(inside.len())
}

/// Where the end tag of an element begins whose content has no tags.
fn find_end(text: &str, name: &str) -> usize {
    let mut from = 0;
    while let Some(found) = text[from..].find("</") {
        let start = from + found;
        let candidate = text.as_bytes()[start + 2..].get(..name.len());
        if candidate.is_some_and(|candidate| candidate.eq_ignore_ascii_case(name.as_bytes())) {
            return start;
        }
        from = start + 2;
    }
    text.len()
}

#[derive(Default)]
struct Writer {
    out: String,
    links: Vec<Option<String>>,
    pre_depth: usize,
    pending_blank: bool,
}

impl Writer {
    fn text(&mut self, raw: &str) {
        let text = decode(raw);
        if self.pre_depth > 0 {
            self.out.push_str(&text);
            return;
        }
        for character in text.chars() {
            if character.is_whitespace() {
                self.pending_blank = true;
            } else if !character.is_control() {
                if self.pending_blank && !self.out.is_empty() && !self.out.ends_with(['\n', ' ']) {
                    self.out.push(' ');
                }
                self.pending_blank = false;
                self.out.push(character);
            }
        }
    }

    fn line(&mut self) {
        self.pending_blank = false;
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
    }

    fn start(&mut self, tag: &Tag) {
        let name = tag.name.as_str();
        if BLOCKS.contains(&name) {
            self.line();
        }
        match name {
            "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                let level = usize::from(name.as_bytes()[1] - b'0');
                self.out.push('\n');
                self.out.push_str(&"#".repeat(level));
                self.out.push(' ');
            }
            "p" | "table" | "ul" | "ol" | "blockquote" => self.out.push('\n'),
            "li" => self.out.push_str("- "),
            "br" => {
                self.pending_blank = false;
                self.out.push('\n');
            }
            "td" | "th" if !self.out.ends_with('\n') => self.out.push_str(" | "),
            "pre" => self.pre_depth += 1,
            "img" => {
                if let Some(words) = tag.attribute("alt").filter(|words| !words.trim().is_empty()) {
                    self.text(&format!(" [image: {}] ", one_line(&words)));
                }
            }
            "a" => {
                let link = tag.attribute("href").map(|link| link.trim().to_owned());
                let is_shown = |link: &String| {
                    let is_absolute = link.starts_with("http://") || link.starts_with("https://");
                    is_absolute && link.len() <= LINK_BYTES_MAX && !link.contains(char::is_whitespace)
                };
                self.links.push(link.filter(is_shown));
            }
            _ => {}
        }
    }

    fn end(&mut self, name: &str) {
        match name {
            "pre" => {
                self.pre_depth = self.pre_depth.saturating_sub(1);
                self.line();
            }
            "a" => {
                if let Some(Some(link)) = self.links.pop() {
                    self.out.push_str(" (");
                    self.out.push_str(&link);
                    self.out.push(')');
                }
            }
            _ if BLOCKS.contains(&name) => self.line(),
            _ => {}
        }
    }

    /// At most one empty line in a row, none at the ends.
    fn finish(self) -> String {
        let mut result = String::with_capacity(self.out.len());
        let mut empty = 0;
        for line in self.out.lines().map(str::trim_end) {
            empty = if line.is_empty() { empty + 1 } else { 0 };
            if empty < 2 && !(line.is_empty() && result.is_empty()) {
                result.push_str(line);
                result.push('\n');
            }
        }
        result.truncate(result.trim_end().len());
        result
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Replaces character references; those that are not known stay as they are.
fn decode(text: &str) -> String {
    if !text.contains('&') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find('&') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        // The longest name that is known here has six letters; numbers have at most eight signs.
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        let decoded = end.and_then(|end| reference(&rest[1..end]).map(|character| (character, end)));
        if let Some((character, end)) = decoded {
            out.push(character);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn reference(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok()?,
            None => number.parse().ok()?,
        };
        return char::from_u32(code).filter(|character| !character.is_control() || *character == '\n');
    }
    let character = match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        "copy" => '©',
        "reg" => '®',
        "trade" => '™',
        "hellip" => '…',
        "mdash" => '—',
        "ndash" => '–',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        "laquo" => '«',
        "raquo" => '»',
        "bull" => '•',
        "middot" => '·',
        "times" => '×',
        "euro" => '€',
        "deg" => '°',
        "larr" => '←',
        "rarr" => '→',
        "auml" => 'ä',
        "ouml" => 'ö',
        "uuml" => 'ü',
        "Auml" => 'Ä',
        "Ouml" => 'Ö',
        "Uuml" => 'Ü',
        "szlig" => 'ß',
        "eacute" => 'é',
        "egrave" => 'è',
        _ => return None,
    };
    Some(character)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_reads_as_text() {
        let check = |html: &str, text: &str| assert_eq!(readable(html).text, text, "{html}");
        check("plain", "plain");
        check("<p>One  <b>two</b>\n three</p><p>Four", "One two three\n\nFour");
        check("<h2>Head</h2>body", "## Head\nbody");
        check("<ul><li>a<li>b</ul>c", "- a\n- b\nc");
        check("a<script>if (a < b) {}</script>b<style>p{}</style>c", "abc");
        check("a<SCRIPT>x</Script >b", "ab");
        check("a<!-- <p>not</p> -->b", "ab");
        check("1 < 2 &amp;&#33; &bogus; &#x41;", "1 < 2 &! &bogus; A");
        check(
            "<a href=\"https://e.example/x\">link</a> <a href='/y'>near</a>",
            "link (https://e.example/x) near",
        );
        check("<a title='a > b' href=https://e.example>q</a>", "q (https://e.example)");
        check("<pre>a\n  b</pre>c", "a\n  b\nc");
        check("<table><tr><td>1<td>2<tr><td>3</table>", "1 | 2\n3");
        check("x<br>y<img src=x alt='a cat'>", "x\ny [image: a cat]");
        check("<p unclosed='>text", "text");
        check("<", "<");
        let page = readable("<head><title> A\n&mdash; B </title></head><body>c</body>");
        assert_eq!((&*page.title, &*page.text), ("A — B", "c"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_a_fault(
            parts in proptest::collection::vec(
                prop_oneof![
                    "\\PC{0,6}", "<[a-z/!?]{0,3}", "[<>&;#'\"= ]{1,3}", Just("<a href=".to_owned()),
                    Just("<img alt=ä".to_owned()), Just("<script>".to_owned()), Just("</script".to_owned()),
                    Just("<!--".to_owned()), Just("&#xFFFFFFF;".to_owned()), Just("<h3>".to_owned()),
                ],
                0..30,
            ),
        ) {
            let html = parts.concat();
            let page = readable(&html);
            prop_assert!(page.text.len() <= html.len() * 4 + 16);
        }
    }
}
