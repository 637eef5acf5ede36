//! Splits a text as the pre-tokenizers of today's vocabularies do, and counts what kinds of pieces there are.
//!
//! One pass over the bytes, no allocation, time linear in the length. What a kind costs is the vocabulary's business.

/// How many pieces there are of each kind, in the order of the constants below.
#[derive(Debug, Clone, PartialEq)]
pub struct Pieces {
    pub counts: [u64; KINDS],
    pub bytes: u64,
}

/// Kinds of pieces: the columns of the weights.
pub const KINDS: usize = SHORT_REPEATS + 1;

/// Words, three styles (lower, Title, CAPS) after a space, after something else, after another word (`camelCase`).
const WORDS: usize = 0;
/// How unusual the words' spelling is, by style, for Claude's vocabularies and then for the others; see [`SPELLING`].
const RARITY: usize = 9;
/// Letters beyond the sixth and the twelfth of a word, of CAPS, with accents.
const LONG: usize = 15;
const VERY_LONG: usize = 16;
const CAPITALS: usize = 17;
const ACCENTS: usize = 18;
const ACCENTED_WORDS: usize = 19;
const SINGLE_LETTERS: usize = 20;
/// Runs of digits, digits, threes of digits.
const NUMBERS: usize = 21;
const DIGITS: usize = 22;
const THREES: usize = 23;
const SPACED_NUMBERS: usize = 24;
/// Runs of ASCII punctuation, pairs in them that hardly ever stand together, repetitions, runs of one before a word.
const MARKS: usize = 25;
const ODD_PAIRS: usize = 26;
const PAIRS: usize = 27;
const REPEATED_MARKS: usize = 28;
const MARKS_BEFORE_WORDS: usize = 29;
const SPACED_MARKS: usize = 30;
/// Line ends after punctuation, after something else, further ones in a row.
const LINES_AFTER_MARKS: usize = 31;
const LINES: usize = 32;
const EMPTY_LINES: usize = 33;
/// Indentations, their columns, tabs; runs of spaces within a line and their columns.
const INDENTS: usize = 34;
const INDENT_COLUMNS: usize = 35;
const TABS: usize = 36;
const GAPS: usize = 37;
const GAP_COLUMNS: usize = 38;
/// Spaces with no word, number or punctuation after them.
const OTHER_SPACES: usize = 39;
const CONTROLS: usize = 40;
/// Words of one or two letters beside digits, and letters of words that follow on four words or numbers without a gap:
/// hexadecimal and base64.
const SPLINTERS: usize = 41;
const CHAINED: usize = 42;
/// Per script: runs, characters, repeated characters.
const SCRIPTS_AT: usize = 43;
const SCRIPTS: usize = Script::Unassigned as usize + 1;
/// Of ASCII punctuation, the first three in a run.
const SHORT_REPEATS: usize = SCRIPTS_AT + 3 * SCRIPTS;

/// Scripts that are not Latin, and symbols.
#[derive(Clone, Copy, PartialEq)]
enum Script {
    Cyrillic,
    /// Letters that Russian does not have.
    OtherCyrillic,
    Greek,
    Hebrew,
    Arabic,
    Devanagari,
    Indic,
    Thai,
    Hangul,
    Kana,
    Han,
    CjkMarks,
    Punctuation,
    Symbols,
    Lines,
    Emoji,
    LatinMarks,
    OtherTwoBytes,
    OtherThreeBytes,
    Unassigned,
}

/// How unusual three letters in a row are in words: a byte per `28 * 28 * 28`, eighths plus 6, for Claude's vocabularies
/// in the low half and for the others in the high one. Letter 0 is the word's edge, 1 to 26 are a to z, 27 is any other
/// Latin letter.
pub const SPELLING: &[u8] = include_bytes!("spelling.bin");

/// How unusual two ASCII marks in a row are, in sixteenths from `P` on: one character per `32 * 32`, by their codes.
pub const PAIRING: &[u8] = include_bytes!("pairing.txt");

impl Default for Pieces {
    fn default() -> Pieces {
        Pieces { counts: [0; KINDS], bytes: 0 }
    }
}

impl Pieces {
    pub fn add(&mut self, text: &str) {
        self.bytes += text.len() as u64;
        let mut reader =
            Reader { bytes: text.as_bytes(), text, at: 0, before: Before::Line, chain: 0 };
        while let Some(&byte) = reader.bytes.get(reader.at) {
            let class = CLASSES[byte as usize];
            reader.link(class);
            match class {
                Class::Letter => reader.word(self),
                Class::Digit => reader.number(self),
                Class::Mark => reader.marks(self),
                Class::Space => reader.spaces(self),
                Class::Line => reader.lines(self),
                Class::Control => {
                    self.counts[CONTROLS] += 1;
                    reader.at += 1;
                    reader.before = Before::Other;
                }
                Class::High => reader.high(self),
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    before: Before,
    /// Words and numbers since anything else.
    chain: u32,
}

/// What stands before the piece.
#[derive(Clone, Copy, PartialEq)]
enum Before {
    Space,
    Line,
    Word,
    Digit,
    Mark,
    Other,
}

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Letter,
    Digit,
    Mark,
    Space,
    Line,
    Control,
    High,
}

const CLASSES: [Class; 256] = classes();

const fn classes() -> [Class; 256] {
    let mut table = [Class::High; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b' ' | b'\t' => Class::Space,
            b'\n' | b'\r' => Class::Line,
            0x21..=0x7e => Class::Mark,
            _ => Class::Control,
        };
        byte += 1;
    }
    table
}

impl Reader<'_> {
    fn link(&mut self, class: Class) {
        self.chain = match class {
            Class::Letter | Class::Digit => self.chain.saturating_add(1),
            _ => 0,
        };
    }

    /// A word up to the next capital of `camelCase`; of `HTTPServer` first `HTTP`.
    fn word(&mut self, pieces: &mut Pieces) {
        let counts = &mut pieces.counts;
        let (mut second, mut bytes) = letter(self.bytes, self.at);
        let mut is_capital = self.bytes[self.at].is_ascii_uppercase();
        let (mut letters, mut capitals) = (1u64, u64::from(is_capital));
        let mut accents = u64::from(second == ACCENT);
        let (mut first, mut rarity) = (EDGE, [0i64; 2]);
        self.at += bytes;
        loop {
            let third;
            (third, bytes) = letter(self.bytes, self.at);
            let was_capital = is_capital;
            is_capital = bytes > 0 && self.bytes[self.at].is_ascii_uppercase();
            let ends = match (was_capital, is_capital) {
                (false, true) => true,
                // The last of several capitals belongs to the small letters after it.
                (true, true) => letter_is_small(self.bytes, self.at + 1),
                (true, false) | (false, false) => bytes == 0,
            };
            let triple = [first, second, if ends { EDGE } else { third }];
            for (sum, one) in rarity.iter_mut().zip(spelling(triple)) {
                *sum += one;
            }
            if ends {
                break;
            }
            (first, second) = (second, third);
            letters += 1;
            capitals += u64::from(is_capital);
            accents += u64::from(third == ACCENT);
            self.at += bytes;
        }
        let style = match capitals {
            0 => 0,
            n if n == letters && n > 1 => 2,
            _ => 1,
        };
        let place = match self.before {
            Before::Space => 0,
            Before::Word => 2,
            _ => 1,
        };
        counts[WORDS + 3 * place + style] += 1;
        counts[RARITY + style] += rarity[0].max(0) as u64;
        counts[RARITY + 3 + style] += rarity[1].max(0) as u64;
        counts[LONG] += letters.saturating_sub(6);
        counts[VERY_LONG] += letters.saturating_sub(12);
        counts[CAPITALS] += if style == 2 { letters } else { 0 };
        counts[ACCENTS] += accents;
        counts[ACCENTED_WORDS] += u64::from(accents > 0);
        counts[CHAINED] += if self.chain > 4 { letters } else { 0 };
        counts[SINGLE_LETTERS] += u64::from(letters == 1);
        let is_before_digit = self.bytes.get(self.at).is_some_and(u8::is_ascii_digit);
        if letters < 3 && (self.before == Before::Digit || is_before_digit) {
            counts[SPLINTERS] += 1;
        }
        self.before = Before::Word;
    }

    fn number(&mut self, pieces: &mut Pieces) {
        let digits = self.run(|b| b.is_ascii_digit()) as u64;
        pieces.counts[NUMBERS] += 1;
        pieces.counts[DIGITS] += digits;
        pieces.counts[THREES] += digits.div_ceil(3);
        pieces.counts[SPACED_NUMBERS] += u64::from(self.before == Before::Space);
        self.before = Before::Digit;
    }

    fn marks(&mut self, pieces: &mut Pieces) {
        let counts = &mut pieces.counts;
        let start = self.at;
        let length = self.run(|b| CLASSES[b as usize] == Class::Mark);
        let mut repeated = 0u64;
        for pair in self.bytes[start..start + length].windows(2) {
            if pair[0] == pair[1] {
                repeated += 1;
                counts[REPEATED_MARKS] += 1;
                // Most vocabularies have long rulers whole.
                counts[SHORT_REPEATS] += u64::from(repeated < 4);
            } else {
                counts[PAIRS] += 1;
                counts[ODD_PAIRS] += pairing(pair[0], pair[1]);
            }
        }
        counts[MARKS] += 1;
        counts[SPACED_MARKS] += u64::from(self.before == Before::Space);
        let is_before_word = letter(self.bytes, self.at).1 > 0;
        counts[MARKS_BEFORE_WORDS] += u64::from(length == 1 && is_before_word);
        self.before = Before::Mark;
    }

    /// Indentation, a gap within a line, or the space before a piece, which most often costs nothing.
    fn spaces(&mut self, pieces: &mut Pieces) {
        let counts = &mut pieces.counts;
        let start = self.at;
        let columns = self.run(|b| b == b' ' || b == b'\t') as u64;
        let run = &self.bytes[start..self.at];
        let tabs = run.iter().filter(|b| **b == b'\t').count() as u64;
        let next = self.bytes.get(self.at).map_or(Class::Line, |b| CLASSES[*b as usize]);
        if self.before == Before::Line && start > 0 {
            counts[INDENTS] += 1;
            counts[INDENT_COLUMNS] += columns - 1;
        } else if columns > 1 || tabs > 0 {
            counts[GAPS] += 1;
            counts[GAP_COLUMNS] += columns - 1;
        } else if matches!(next, Class::Line | Class::Control | Class::High) {
            counts[OTHER_SPACES] += 1;
        }
        counts[TABS] += tabs;
        self.before = Before::Space;
    }

    fn lines(&mut self, pieces: &mut Pieces) {
        let length = self.run(|b| b == b'\n' || b == b'\r') as u64;
        let kind = if self.before == Before::Mark { LINES_AFTER_MARKS } else { LINES };
        pieces.counts[kind] += 1;
        pieces.counts[EMPTY_LINES] += length - 1;
        self.before = Before::Line;
    }

    /// A letter with an accent, or a run of characters of one script.
    fn high(&mut self, pieces: &mut Pieces) {
        if letter(self.bytes, self.at).1 > 0 {
            return self.word(pieces);
        }
        let mut run = None;
        let mut last = '\0';
        let counts = &mut pieces.counts;
        for character in self.text[self.at..].chars() {
            if character.is_ascii() || letter(self.bytes, self.at).1 > 0 {
                break;
            }
            let script = script(character);
            let at = SCRIPTS_AT + 3 * script as usize;
            if run != Some(script) {
                counts[at] += 1;
                run = Some(script);
            }
            counts[at + 1 + usize::from(character == last)] += 1;
            last = character;
            self.at += character.len_utf8();
        }
        self.before = Before::Other;
    }

    /// Goes on while it is so, and says for how many bytes.
    fn run(&mut self, is_part: impl Fn(u8) -> bool) -> usize {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|b| !is_part(*b)).unwrap_or(rest.len());
        self.at += length;
        length
    }
}

const LETTERS: usize = 28;
const EDGE: usize = 0;
const ACCENT: usize = 27;

/// The Latin letter that stands there and its bytes; 0 bytes if none does.
fn letter(bytes: &[u8], at: usize) -> (usize, usize) {
    match bytes.get(at) {
        Some(b @ (b'a'..=b'z' | b'A'..=b'Z')) => (usize::from(b | 0x20) - 0x60, 1),
        // U+00C0 to U+024F, but the signs for multiplication and division.
        Some(0xc3) if matches!(bytes.get(at + 1), Some(0x97 | 0xb7)) => (EDGE, 0),
        Some(0xc3..=0xc9) => (ACCENT, 2),
        // U+1E80 to U+1EFF: Vietnamese.
        Some(0xe1) if matches!(bytes.get(at + 1), Some(0xba | 0xbb)) => (ACCENT, 3),
        _ => (EDGE, 0),
    }
}

fn letter_is_small(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_lowercase)
}

/// ASCII punctuation as 0 to 31.
fn mark(byte: u8) -> usize {
    usize::from(match byte {
        0x21..=0x2f => byte - 0x21,
        0x3a..=0x40 => byte - 0x3a + 15,
        0x5b..=0x60 => byte - 0x5b + 22,
        _ => byte.saturating_sub(0x7b).min(3) + 28,
    })
}

/// For Claude's vocabularies and for the others, in eighths.
fn spelling([first, second, third]: [usize; 3]) -> [i64; 2] {
    let index = (first * LETTERS + second) * LETTERS + third;
    let packed = SPELLING.get(index).map_or(0, |b| i64::from(*b));
    [(packed & 15) - 6, (packed >> 4) - 6]
}

/// In sixteenths.
fn pairing(first: u8, second: u8) -> u64 {
    PAIRING.get(mark(first) * 32 + mark(second)).map_or(0, |b| u64::from(b.saturating_sub(b'P')))
}

fn script(character: char) -> Script {
    match character as u32 {
        0x80..=0xff => Script::LatinMarks,
        0x370..=0x3ff | 0x1f00..=0x1fff => Script::Greek,
        0x410..=0x44f | 0x401 | 0x451 => Script::Cyrillic,
        0x400..=0x52f => Script::OtherCyrillic,
        0x590..=0x5ff => Script::Hebrew,
        0x600..=0x77f | 0xfb50..=0xfdff | 0xfe70..=0xfefe => Script::Arabic,
        0x900..=0x97f => Script::Devanagari,
        0x980..=0xdff => Script::Indic,
        0xe00..=0xeff => Script::Thai,
        0x250..=0x7ff => Script::OtherTwoBytes,
        0x2000..=0x206f => Script::Punctuation,
        0x2500..=0x259f => Script::Lines,
        0x2070..=0x2bff => Script::Symbols,
        0x3000..=0x303f | 0xff00..=0xff60 => Script::CjkMarks,
        0x3040..=0x30ff | 0x31f0..=0x31ff | 0xff61..=0xff9f => Script::Kana,
        0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Script::Hangul,
        0x3400..=0x9fff | 0xf900..=0xfaff => Script::Han,
        0x1f000..=0x1faff => Script::Emoji,
        0x800..=0xffff => Script::OtherThreeBytes,
        _ => Script::Unassigned,
    }
}
