//! What of a request becomes its prompt: text by its bytes, images, documents and audio by their number or length.
//! Pure.

use memchr::{memchr2, memmem};

/// Depth of nesting up to which members are looked at. What is deeper is text.
const DEEPEST: usize = 32;
/// Bytes of a document for one page of it: a page of scanned paper has more, one of text alone about as many.
const PAGE_BYTES: usize = 32 * 1024;
/// Most pages of a document that a provider takes, by Anthropic's documentation.
const MOST_PAGES: u64 = 600;
/// Pages of a document that is elsewhere, of which nothing is known.
const PAGES_ELSEWHERE: u64 = 20;
/// Bytes of a token of audio: a tenth of a second at 8 kbit/s, the lowest rate of MP3.
const AUDIO_BYTES: usize = 100;

/// Bytes of text, by how many of them a token has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Text {
    /// Small letters and blanks of ASCII, of which a token of prose has four and more.
    pub plain: u64,
    /// All others: figures, signs, capitals, other scripts.
    pub other: u64,
}

impl Text {
    /// All bytes: no text has more tokens.
    pub(super) fn bytes(self) -> u64 {
        self.plain + self.other
    }

    fn add(&mut self, more: Self) {
        self.plain += more.plain;
        self.other += more.other;
    }

    fn signs(&mut self, count: usize) {
        self.other += count as u64;
    }

    /// The content of a string of JSON, as it is once its escapes are undone: those may be six times as long.
    fn of(mut content: &[u8]) -> Self {
        let mut text = Self::default();
        while let Some(at) = memchr::memchr(b'\\', content) {
            text.add(Self::plainly(&content[..at]));
            let (bytes, length) = escaped(&content[at..]);
            text.signs(bytes);
            content = content.get(at + length..).unwrap_or_default();
        }
        text.add(Self::plainly(content));
        text
    }

    fn plainly(bytes: &[u8]) -> Self {
        let plain = bytes.iter().filter(|byte| byte.is_ascii_lowercase() || **byte == b' ').count();
        Self { plain: plain as u64, other: (bytes.len() - plain) as u64 }
    }
}

/// Bytes of the character that an escape stands for (half of them for each of a pair), and those of the escape.
fn escaped(escape: &[u8]) -> (usize, usize) {
    let hex = escape.get(2..6).filter(|_| escape.get(1) == Some(&b'u'));
    let Some(code) = hex.and_then(|hex| std::str::from_utf8(hex).ok()) else { return (1, 2) };
    let bytes = match u32::from_str_radix(code, 16).unwrap_or(0xffff) {
        0..0x80 => 1,
        0x80..0x800 | 0xd800..0xe000 => 2,
        _ => 3,
    };
    (bytes, 6)
}

/// What is measured of a request before it leaves: once, since its body may be large.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Measured {
    /// What may be text of the prompt: all but blanks between the signs of JSON, and media.
    pub text: Text,
    /// Images, in the request or elsewhere.
    pub images: u64,
    /// Documents, in the request or elsewhere.
    pub documents: u64,
    /// Pages that these have at most, by their bytes.
    pub pages: u64,
    /// Tokens of audio, by its bytes.
    pub audio: u64,
    /// Whether it says what of the prompt is to be written to a cache.
    pub marks_caches: bool,
}

impl Measured {
    /// Measures the body of a request, which is an object of JSON.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut reader = Reader::default();
        reader.read(body);
        Self { marks_caches: memmem::find(body, b"cache_control").is_some(), ..reader.measured }
    }

    /// Whether there is something in the prompt whose tokens its text does not tell.
    pub(super) fn has_media(&self) -> bool {
        self.images > 0 || self.documents > 0 || self.audio > 0
    }

    /// Counts what was in the request in base64.
    fn add(&mut self, medium: Medium, encoded: usize) {
        let bytes = encoded / 4 * 3;
        match medium {
            Medium::Image => self.images += 1,
            Medium::Document => {
                self.documents += 1;
                self.pages += (bytes as u64).div_ceil(PAGE_BYTES as u64).clamp(1, MOST_PAGES);
            }
            Medium::Audio => self.audio += (bytes / AUDIO_BYTES).max(1) as u64,
            Medium::Other => {
                self.documents += 1;
                self.text.signs(bytes);
            }
        }
    }

    fn add_elsewhere(&mut self, is_image: bool) {
        if is_image {
            self.images += 1;
        } else {
            self.documents += 1;
            self.pages += PAGES_ELSEWHERE;
        }
    }
}

/// What base64 holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Medium {
    Image,
    Document,
    Audio,
    /// It may be text, which is read as such.
    Other,
}

impl Medium {
    fn of(media_type: &[u8]) -> Self {
        match media_type {
            b"application/pdf" => Self::Document,
            _ if media_type.starts_with(b"image/") => Self::Image,
            _ if media_type.starts_with(b"audio/") => Self::Audio,
            _ => Self::Other,
        }
    }
}

/// What a text is, by the names that lead to it.
enum Role {
    /// Text of the prompt, as far as anybody knows.
    Text,
    /// The address of an image, or the image.
    Image,
    /// The bytes of a file, after its type.
    File,
    /// The bytes of a recording.
    Audio,
    /// Bytes or text, of which the member `type` beside it tells which.
    Data,
    /// Where an image or a document is, of which the member `type` beside it tells which.
    Link,
}

/// The places of media in the requests of both dialects; whatever is anywhere else is text, such as what was put into
/// the arguments of a tool.
fn role(path: &[&[u8]]) -> Role {
    let (rest, is_message) = match path {
        [b"messages", b"content", rest @ ..] => (rest, true),
        [b"input", b"content" | b"output", rest @ ..] => (rest, false),
        _ => return Role::Text,
    };
    // Within the result of a tool, and within a document that has parts.
    let rest = if let [b"content", rest @ ..] = rest { rest } else { rest };
    let rest = if let [b"source", b"content", rest @ ..] = rest { rest } else { rest };
    match rest {
        [b"image_url"] | [b"image_url", b"url"] => Role::Image,
        [b"input_audio", b"data"] => Role::Audio,
        [b"file", b"file_data"] => Role::File,
        [b"file", b"file_id"] | [b"source", b"url" | b"file_id"] => Role::Link,
        [b"source", b"data"] if is_message => Role::Data,
        [b"file_data"] if !is_message => Role::File,
        [b"file_id" | b"file_url"] if !is_message => Role::Link,
        _ => Role::Text,
    }
}

/// An object or an array that has begun.
#[derive(Default)]
struct Open<'b> {
    /// The name of the member that it is; empty in an array.
    name: &'b [u8],
    is_object: bool,
    /// The name of the member that is being read.
    key: &'b [u8],
    /// Whether its member `type` says base64, and nothing else.
    is_base64: bool,
    is_no_base64: bool,
    is_image: bool,
    /// What its member `media_type` says.
    medium: Option<Medium>,
    /// Bytes of which it is not known yet whether they are text.
    data: Option<&'b [u8]>,
    /// Something in it is elsewhere.
    links: bool,
}

/// Reads JSON that is known to be valid; nothing of it is kept.
#[derive(Default)]
struct Reader<'b> {
    open: Vec<Open<'b>>,
    /// How far it is nested beyond [`DEEPEST`].
    deeper: usize,
    /// Whether the next text is the name of a member.
    wants_key: bool,
    measured: Measured,
}

impl<'b> Reader<'b> {
    fn read(&mut self, body: &'b [u8]) {
        let mut at = 0;
        while let Some(byte) = body.get(at) {
            at += 1;
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => continue,
                b'"' => {
                    let end = end_of_text(body, at);
                    self.text(&body[at..end]);
                    at = end + 1;
                    continue;
                }
                b'{' | b'[' => self.begin(*byte == b'{'),
                b'}' | b']' => self.end(),
                b',' => {
                    self.wants_key = self.deeper == 0 && self.open.last().is_some_and(|open| open.is_object)
                }
                b':' => self.wants_key = false,
                _ => {}
            }
            self.measured.text.signs(1);
        }
    }

    fn begin(&mut self, is_object: bool) {
        if self.open.len() >= DEEPEST {
            self.deeper += 1;
            return;
        }
        let name = self.open.last().filter(|open| open.is_object).map_or(&b""[..], |open| open.key);
        self.open.push(Open { name, is_object, ..Open::default() });
        self.wants_key = is_object;
    }

    fn end(&mut self) {
        if self.deeper > 0 {
            self.deeper -= 1;
            return;
        }
        let Some(ended) = self.open.pop() else { return };
        self.wants_key = false;
        if let Some(data) = ended.data {
            match ended.medium {
                Some(medium) if ended.is_base64 && !ended.is_no_base64 => {
                    self.measured.add(medium, data.len())
                }
                _ => self.measured.text.add(Text::of(data)),
            }
        }
        if !ended.links {
            return;
        }
        // What it is says the part that it belongs to.
        match self.open.last_mut().filter(|_| matches!(ended.name, b"source" | b"file")) {
            Some(part) => part.links = true,
            None => self.measured.add_elsewhere(ended.is_image),
        }
    }

    fn text(&mut self, content: &'b [u8]) {
        self.measured.text.signs(2);
        let is_key = std::mem::take(&mut self.wants_key);
        match self.open.last_mut() {
            Some(open) if is_key && self.deeper == 0 => {
                open.key = content;
                self.measured.text.add(Text::of(content));
            }
            Some(_) if self.deeper == 0 => self.value(content),
            _ => self.measured.text.add(Text::of(content)),
        }
    }

    fn value(&mut self, content: &'b [u8]) {
        match role(&self.path()) {
            Role::Text => {
                self.note(content);
                self.measured.text.add(Text::of(content));
            }
            Role::Image => self.measured.images += 1,
            Role::File => {
                let medium = media_type(content).map_or(Medium::Document, Medium::of);
                self.measured.add(medium, content.len());
            }
            Role::Audio => self.measured.add(Medium::Audio, content.len()),
            Role::Data => {
                // Of two the first is text: nobody knows which the provider reads.
                if let Some(former) = self.open.last_mut().and_then(|open| open.data.replace(content)) {
                    self.measured.text.add(Text::of(former));
                }
            }
            Role::Link => {
                if let Some(open) = self.open.last_mut() {
                    open.links = true;
                }
            }
        }
    }

    /// Notes what an object says it is.
    fn note(&mut self, content: &[u8]) {
        let Some(open) = self.open.last_mut().filter(|open| open.is_object) else { return };
        match open.key {
            b"type" => {
                open.is_base64 |= content == b"base64";
                open.is_no_base64 |= content != b"base64";
                open.is_image |= matches!(content, b"image" | b"input_image");
            }
            b"media_type" => {
                let medium = Medium::of(content);
                // Of two that differ, that of which nothing is known.
                open.medium = Some(
                    open.medium
                        .map_or(medium, |former| if former == medium { medium } else { Medium::Other }),
                );
            }
            _ => {}
        }
    }

    /// The names of the members that lead to the value that is read.
    fn path(&self) -> Vec<&'b [u8]> {
        let named = self.open.iter().map(|open| open.name);
        let last = self.open.last().filter(|open| open.is_object).map(|open| open.key);
        named.chain(last).filter(|name| !name.is_empty()).collect()
    }
}

/// Where the text ends that begins at `from`: its quote, or the end of what there is.
fn end_of_text(body: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(found) = memchr2(b'"', b'\\', body.get(at..).unwrap_or_default()) {
        if body[at + found] == b'"' {
            return at + found;
        }
        at += found + 2;
    }
    body.len()
}

/// The type that an address with the data in it names.
fn media_type(address: &[u8]) -> Option<&[u8]> {
    let rest = address.strip_prefix(b"data:")?;
    rest.split(|byte| matches!(byte, b';' | b',')).next()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(body: &Value) -> Measured {
        Measured::of(body.to_string().as_bytes())
    }

    fn media(body: &Value) -> (u64, u64, u64, u64) {
        let measured = of(body);
        (measured.images, measured.documents, measured.pages, measured.audio)
    }

    fn chat(part: Value) -> Value {
        json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }, part] }] })
    }

    fn message(part: Value) -> Value {
        json!({ "messages": [{ "content": [{ "type": "tool_result", "content": [part] }] }] })
    }

    fn input(part: Value) -> Value {
        json!({ "input": [{ "role": "user", "content": [part] }] })
    }

    #[test]
    fn blanks_between_the_signs_of_json_are_no_text_and_escapes_are_what_they_stand_for() {
        let compact = r#"{"messages":[{"content":"a b"}]}"#;
        let text = Measured::of(compact.as_bytes()).text;
        assert_eq!(text.bytes(), compact.len() as u64);
        let padded = compact.replace(':', " :\n\t ").replace('}', &format!("{}}}", " ".repeat(1_000)));
        assert_eq!(Measured::of(padded.as_bytes()).text, text);
        let escaped = r#"{"messages":[{"content":"\u0061\u0020b"}]}"#;
        assert_eq!(Measured::of(escaped.as_bytes()).text.bytes(), text.bytes());
        assert_eq!(Text::of(br"\u00e9\ud83d\ude00\n\"), Text { plain: 0, other: 2 + 4 + 1 + 1 });
        assert_eq!(Text::of(b"word W 7."), Text { plain: 6, other: 3 });
    }

    #[test]
    fn media_are_found_in_every_place_that_interfaces_have_for_them_and_their_bytes_are_no_text() {
        let data = "A".repeat(400_000);
        let url = |kind: &str| format!("data:{kind};base64,{data}");
        let source = |kind: &str| json!({ "data": data, "type": "base64", "media_type": kind });
        let pages = 10;
        for (body, expected) in [
            (chat(json!({ "type": "image_url", "image_url": { "url": url("image/png") } })), (1, 0, 0, 0)),
            (
                chat(json!({ "type": "image_url", "image_url": { "url": "https://a.example/b" } })),
                (1, 0, 0, 0),
            ),
            (
                chat(json!({ "type": "file", "file": { "file_data": url("application/pdf") } })),
                (0, 1, pages, 0),
            ),
            (chat(json!({ "type": "file", "file": { "file_id": "f" } })), (0, 1, 20, 0)),
            (chat(json!({ "type": "input_audio", "input_audio": { "data": data } })), (0, 0, 0, 3_000)),
            (input(json!({ "type": "input_image", "image_url": url("image/png") })), (1, 0, 0, 0)),
            (input(json!({ "type": "input_image", "file_id": "f" })), (1, 0, 0, 0)),
            (input(json!({ "type": "input_file", "file_data": url("application/pdf") })), (0, 1, pages, 0)),
            (input(json!({ "file_url": "https://a.example/b", "type": "input_file" })), (0, 1, 20, 0)),
            (chat(json!({ "type": "image", "source": source("image/webp") })), (1, 0, 0, 0)),
            (message(json!({ "type": "document", "source": source("application/pdf") })), (0, 1, pages, 0)),
            (
                message(json!({ "source": { "type": "url", "url": "https://a.example/" }, "type": "image" })),
                (1, 0, 0, 0),
            ),
            (
                chat(json!({ "type": "document", "source": { "type": "file", "file_id": "f" } })),
                (0, 1, 20, 0),
            ),
        ] {
            assert_eq!(media(&body), expected, "{:.200}", body.to_string());
            assert!(of(&body).text.bytes() < 300);
        }
    }

    #[test]
    fn what_only_looks_like_media_is_text_and_so_is_what_may_be_read_as_such() {
        let data = "A".repeat(4_000);
        let source = |kind: &str| json!({ "data": data, "type": kind, "media_type": "image/png" });
        let url = format!("data:image/png;base64,{data}");
        for body in [
            chat(json!({ "type": "text", "text": url })),
            chat(json!({ "type": "tool_use", "input": { "type": "image", "source": source("base64") } })),
            chat(json!({ "type": "tool_use", "input": { "image_url": { "url": url } } })),
            chat(json!({ "type": "document", "source": source("text") })),
            json!({ "tools": [{ "image_url": { "url": url } }], "metadata": { "file_data": url } }),
        ] {
            assert_eq!(media(&body), (0, 0, 0, 0), "{body:.200}");
            assert!(of(&body).text.bytes() > 4_000);
        }
        let table = format!("data:text/csv;base64,{data}");
        let of_text = of(&chat(json!({ "type": "file", "file": { "file_data": table } })));
        assert!(of_text.has_media() && of_text.text.bytes() > 3_000, "a file of text is read as text");
        let two = r#"{"messages":[{"content":[{"source":
            {"type":"base64","type":"text","media_type":"image/png","data":"AAAA"}}]}]}"#;
        assert!(!Measured::of(two.as_bytes()).has_media());
    }

    #[test]
    fn however_deep_it_is_nested_and_wherever_it_ends_it_is_measured() {
        let deep = format!("{{\"messages\":{}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(Measured::of(deep.as_bytes()).text.bytes(), deep.len() as u64);
        let body = chat(json!({ "type": "image_url", "image_url": { "url": "data:\\u00e9" } })).to_string();
        for end in 0..body.len() {
            Measured::of(&body.as_bytes()[..end]);
        }
        assert!(Measured::of(b"{\"system\":[{\"cache_control\":{}}]}").marks_caches);
    }
}
