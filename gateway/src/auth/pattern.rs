//! Patterns for the names of rooms: those of `[[rooms]]`, and those that tokens carry. Pure.
//!
//! | pattern | stands for |
//! |---|---|
//! | `*` | any text, also none; `/` is a character like any other, since rooms are names, not paths |
//! | `?` | one character |
//! | `[ab]`, `[a-f]`, `[!ab]` | one of these, one between these, one that is none of these |
//! | `{a,b}` | one of these patterns |
//! | `{sub}` | the user of the client, taken literally; for a client without a user it matches nothing |
//! | `\*` | the character itself |
//!
//! Tokens bring patterns of their own, so one must cost little: it is kept as text, a few dozen bytes where a compiled
//! expression takes kilobytes. Alternatives are taken apart when it is read, up to a bound; what is left is matched by
//! going back to the last `*` alone, which takes at most as many steps as the pattern is long times the name.

use serde::{Deserialize, Serialize};

/// Length of a pattern as it is written.
pub const MAX_PATTERN_BYTES: usize = 256;
/// Patterns that alternatives make of one.
const MAX_ALTERNATIVES: usize = 64;
/// Bytes of all of them together.
const MAX_EXPANDED_BYTES: usize = 4096;

const USER: &str = "{sub}";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Box<str>>", into = "Vec<Box<str>>")]
pub struct Pattern {
    /// Each without alternatives.
    alternatives: Box<[Box<str>]>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Empty or too long.
    #[error("1 to {MAX_PATTERN_BYTES} bytes")]
    Length,
    /// `[` without `]`.
    #[error("unclosed character class; missing ']'")]
    UnclosedClass,
    /// `[z-a]`
    #[error("a range of characters ends before it begins")]
    Range,
    /// `{` without `}`.
    #[error("unclosed alternatives; missing '}}'")]
    UnclosedAlternatives,
    /// `}` without `{`.
    #[error("unopened alternatives; missing '{{'")]
    UnopenedAlternatives,
    /// A backslash with nothing behind it.
    #[error("nothing behind the last '\\'")]
    DanglingEscape,
    /// Too many, or too long together.
    #[error("more than {MAX_ALTERNATIVES} alternatives, or {MAX_EXPANDED_BYTES} bytes of them")]
    TooManyAlternatives,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It is none, or larger than the bounds.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() || text.len() > MAX_PATTERN_BYTES {
            return Err(PatternError::Length);
        }
        let mut rest = text;
        let alternatives = sequence(&mut rest, false)?;
        Ok(Self { alternatives: alternatives.into_iter().map(String::into_boxed_str).collect() })
    }

    /// Does it match the whole name, for a client of this user?
    pub fn is_match(&self, name: &str, user: Option<&str>) -> bool {
        self.count_steps(name, user).0
    }

    fn count_steps(&self, name: &str, user: Option<&str>) -> (bool, usize) {
        let mut steps = 0;
        let is_match = self.alternatives.iter().any(|one| matches(one, name, user, &mut steps));
        (is_match, steps)
    }
}

impl TryFrom<Vec<Box<str>>> for Pattern {
    type Error = PatternError;

    /// From a node that has read it already; read again, since nothing else is sure to match in bounded time.
    fn try_from(texts: Vec<Box<str>>) -> Result<Self, PatternError> {
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        if texts.len() > MAX_ALTERNATIVES || bytes > MAX_EXPANDED_BYTES {
            return Err(PatternError::TooManyAlternatives);
        }
        for text in &texts {
            if text.len() > MAX_PATTERN_BYTES || sequence(&mut &**text, false)?.len() != 1 {
                return Err(PatternError::TooManyAlternatives);
            }
        }
        Ok(Self { alternatives: texts.into() })
    }
}

impl From<Pattern> for Vec<Box<str>> {
    fn from(pattern: Pattern) -> Self {
        pattern.alternatives.into()
    }
}

/// Reads up to the end, or to the `,` or `}` that ends an alternative; gives all that it may stand for.
fn sequence(rest: &mut &str, is_alternative: bool) -> Result<Vec<String>, PatternError> {
    let mut expanded = vec![String::new()];
    while let Some(first) = rest.chars().next() {
        let taken = match first {
            ',' | '}' if is_alternative => return Ok(expanded),
            '}' => return Err(PatternError::UnopenedAlternatives),
            '{' if !rest.starts_with(USER) => {
                expanded = product(&expanded, &alternatives(rest)?)?;
                continue;
            }
            '{' => USER.len(),
            '[' => Class::parse(&rest[1..])?.1 + 1,
            '\\' => 1 + rest[1..].chars().next().ok_or(PatternError::DanglingEscape)?.len_utf8(),
            other => other.len_utf8(),
        };
        let (element, behind) = rest.split_at(taken);
        expanded.iter_mut().for_each(|text| text.push_str(element));
        bounded(&expanded)?;
        *rest = behind;
    }
    if is_alternative { Err(PatternError::UnclosedAlternatives) } else { Ok(expanded) }
}

/// Reads from a `{` to behind its `}`.
fn alternatives(rest: &mut &str) -> Result<Vec<String>, PatternError> {
    let mut all = Vec::new();
    loop {
        // The brace or the comma.
        *rest = &rest[1..];
        all.extend(sequence(rest, true)?);
        bounded(&all)?;
        if rest.starts_with('}') {
            *rest = &rest[1..];
            return Ok(all);
        }
    }
}

fn product(starts: &[String], ends: &[String]) -> Result<Vec<String>, PatternError> {
    if starts.len() * ends.len() > MAX_ALTERNATIVES {
        return Err(PatternError::TooManyAlternatives);
    }
    let all: Vec<_> =
        starts.iter().flat_map(|start| ends.iter().map(move |end| format!("{start}{end}"))).collect();
    bounded(&all)?;
    Ok(all)
}

fn bounded(all: &[String]) -> Result<(), PatternError> {
    let bytes: usize = all.iter().map(String::len).sum();
    let fits = all.len() <= MAX_ALTERNATIVES && bytes <= MAX_EXPANDED_BYTES;
    fits.then_some(()).ok_or(PatternError::TooManyAlternatives)
}

/// What stands between `[` and `]`.
#[derive(Clone, Copy)]
struct Class<'p> {
    is_negated: bool,
    members: &'p str,
}

impl<'p> Class<'p> {
    /// Reads what is behind a `[`; also says how many bytes that takes, the `]` included.
    fn parse(text: &'p str) -> Result<(Self, usize), PatternError> {
        let is_negated = text.starts_with(['!', '^']);
        let members = if is_negated { &text[1..] } else { text };
        let (mut rest, mut is_first) = (members, true);
        loop {
            // A `]` at the very beginning is a member.
            if rest.starts_with(']') && !is_first {
                let (members, _) = members.split_at(members.len() - rest.len());
                return Ok((Self { is_negated, members }, text.len() - rest.len() + 1));
            }
            let (least, most) = member(&mut rest).ok_or(PatternError::UnclosedClass)?;
            if least > most {
                return Err(PatternError::Range);
            }
            is_first = false;
        }
    }

    /// Counts what it looks at.
    fn holds(self, wanted: char, steps: &mut usize) -> bool {
        let (mut rest, mut found) = (self.members, false);
        while let Some((least, most)) = member(&mut rest) {
            *steps += 1;
            found |= (least..=most).contains(&wanted);
        }
        found != self.is_negated
    }
}

/// Takes one character or one range out of a class.
fn member(rest: &mut &str) -> Option<(char, char)> {
    let least = class_character(rest)?;
    let is_range = rest.starts_with('-') && !rest[1..].is_empty() && !rest[1..].starts_with(']');
    if !is_range {
        return Some((least, least));
    }
    *rest = &rest[1..];
    Some((least, class_character(rest)?))
}

fn class_character(rest: &mut &str) -> Option<char> {
    let mut characters = rest.chars();
    let first = characters.next()?;
    let character = if first == '\\' { characters.next()? } else { first };
    *rest = characters.as_str();
    Some(character)
}

enum Element<'p> {
    AnyText,
    AnyCharacter,
    Class(Class<'p>),
    User,
    Character(char),
}

/// Takes the next element out of a pattern without alternatives.
fn next_element<'p>(pattern: &mut &'p str) -> Option<Element<'p>> {
    let first = pattern.chars().next()?;
    let (element, taken) = match first {
        '*' => (Element::AnyText, 1),
        '?' => (Element::AnyCharacter, 1),
        '{' if pattern.starts_with(USER) => (Element::User, USER.len()),
        '[' => {
            let (class, taken) = Class::parse(&pattern[1..]).ok()?;
            (Element::Class(class), taken + 1)
        }
        '\\' => {
            let escaped = pattern[1..].chars().next()?;
            (Element::Character(escaped), 1 + escaped.len_utf8())
        }
        other => (Element::Character(other), other.len_utf8()),
    };
    *pattern = &pattern[taken..];
    Some(element)
}

/// Matches one alternative. Between two `*` all is of fixed length, so what follows a `*` may be put at the first place
/// where it fits: there is never more to try than where the last one ends.
fn matches(pattern: &str, name: &str, user: Option<&str>, steps: &mut usize) -> bool {
    let (mut pattern, mut name) = (pattern, name);
    let mut last_any: Option<(&str, &str)> = None;
    loop {
        *steps += 1;
        let behind = match next_element(&mut pattern) {
            Some(Element::AnyText) if pattern.is_empty() => return true,
            Some(Element::AnyText) => {
                last_any = Some((pattern, name));
                Some(name)
            }
            Some(element) => fit(&element, name, user, steps),
            None if name.is_empty() => return true,
            None => None,
        };
        if let Some(behind) = behind {
            name = behind;
            continue;
        }
        // The last `*` takes one character more.
        let Some((behind_any, tried)) = last_any else { return false };
        let Some(skipped) = tried.chars().next() else { return false };
        name = &tried[skipped.len_utf8()..];
        (pattern, last_any) = (behind_any, Some((behind_any, name)));
    }
}

/// What is behind the element, where the name begins with it.
fn fit<'n>(element: &Element<'_>, name: &'n str, user: Option<&str>, steps: &mut usize) -> Option<&'n str> {
    if let Element::User = element {
        let user = user?;
        *steps += user.len().min(name.len());
        return name.strip_prefix(user);
    }
    let first = name.chars().next()?;
    let is_fit = match element {
        Element::Class(class) => class.holds(first, steps),
        Element::Character(character) => *character == first,
        Element::AnyText | Element::AnyCharacter | Element::User => true,
    };
    is_fit.then(|| &name[first.len_utf8()..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn what_matches() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("news", &["news"], &["new", "newss", "News", ""]),
            ("*", &["", "a", "a/b", "ü"], &[]),
            ("**", &["", "a/b"], &[]),
            ("news*", &["news", "news/eu", "news.secret"], &["new", "anews"]),
            ("*news", &["news", "old news", "newsnews"], &["news "]),
            ("a*b*c", &["abc", "a1b2c", "abbcbc"], &["ab", "acb", "abcd"]),
            ("?", &["a", "ü", "/"], &["", "ab"]),
            ("chat-??", &["chat-12"], &["chat-1", "chat-123"]),
            ("[ab]", &["a", "b"], &["c", "ab", ""]),
            ("[a-cx]", &["a", "b", "c", "x"], &["d", "-"]),
            ("[!ab]", &["c", "ü"], &["a", "b", ""]),
            ("[^ab]", &["c"], &["a"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[!]]", &["a"], &["]"]),
            ("[a-]", &["a", "-"], &["b"]),
            ("[-a]", &["a", "-"], &["b"]),
            (r"[\]\-]", &["]", "-"], &["\\"]),
            ("[{,}*?]", &["{", ",", "}", "*", "?"], &["a"]),
            ("{a,b}", &["a", "b"], &["c", "a,b", ""]),
            ("{news,chat-*}.{eu,us}", &["news.eu", "chat-1.us"], &["news.", "news.eu,us", "chat.eu"]),
            ("a{,b}", &["a", "ab"], &["b"]),
            ("{a,{b,c}d}", &["a", "bd", "cd"], &["ad", "b"]),
            ("{a}", &["a"], &["{a}"]),
            ("a,b", &["a,b"], &["a", "b"]),
            (r"\*\?\[\{\\", &[r"*?[{\"], &["a"]),
            (r"{\,,\}}", &[",", "}"], &["\\"]),
            ("*a*a*a*b", &["aaab", "xaxaxab"], &["aaa", "aab"]),
        ];
        for (text, matching, others) in table {
            let pattern = pattern(text);
            for name in *matching {
                assert!(pattern.is_match(name, None), "{text} should match {name:?}");
            }
            for name in *others {
                assert!(!pattern.is_match(name, None), "{text} should not match {name:?}");
            }
        }
    }

    #[test]
    fn the_user_is_taken_literally_and_who_has_none_matches_nothing() {
        let table = [
            ("{sub}", "ada", Some("ada"), true),
            ("{sub}", "bob", Some("ada"), false),
            ("{sub}", "{sub}", Some("ada"), false),
            ("{sub}", "sub", Some("ada"), false),
            ("{sub}", "sub", None, false),
            ("{sub}", "", None, false),
            ("*{sub}*", "x", None, false),
            ("inbox-{sub}", "inbox-ada", Some("ada"), true),
            ("inbox-{sub}", "inbox-bob", Some("*"), false),
            ("inbox-{sub}", "inbox-*", Some("*"), true),
            ("inbox-{sub}", "inbox-[a-z]", Some("[a-z]"), true),
            ("inbox-{sub}", "inbox-a", Some("[a-z]"), false),
            ("*-{sub}-*", "a-b-ada-x", Some("ada"), true),
            ("{sub}-{sub}", "a-a", Some("a"), true),
            ("{sub}-{sub}", "a-b", Some("a"), false),
            ("{team-*,of-{sub}}", "of-ada", Some("ada"), true),
            ("{team-*,of-{sub}}", "of-bob", Some("ada"), false),
            ("{team-*,of-{sub}}", "team-7", None, true),
            ("{sub,x}", "sub", None, true),
            (r"\{sub\}", "{sub}", Some("ada"), true),
        ];
        for (text, name, user, expected) in table {
            assert_eq!(pattern(text).is_match(name, user), expected, "{text} {name} {user:?}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        use PatternError::{
            DanglingEscape, Length, Range, TooManyAlternatives, UnclosedAlternatives, UnclosedClass,
            UnopenedAlternatives,
        };
        let long = "a".repeat(MAX_PATTERN_BYTES + 1);
        let many = "{a,b}".repeat(7);
        let large = format!("{}{}", "{a,b,c,d}".repeat(3), "x".repeat(200));
        let nested = "{".repeat(MAX_PATTERN_BYTES);
        for (text, expected) in [
            ("", Length),
            (&*long, Length),
            ("[a", UnclosedClass),
            ("[]", UnclosedClass),
            ("[", UnclosedClass),
            (r"[\\", UnclosedClass),
            ("[z-a]", Range),
            ("{a", UnclosedAlternatives),
            ("{a,{b}", UnclosedAlternatives),
            (&nested, UnclosedAlternatives),
            ("a}", UnopenedAlternatives),
            (r"a\", DanglingEscape),
            (&many, TooManyAlternatives),
            (&large, TooManyAlternatives),
        ] {
            assert_eq!(Pattern::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn a_pattern_of_one_form_is_little_more_than_its_text() {
        let Pattern { alternatives } = pattern("team-*-{sub}");
        assert_eq!(alternatives.len(), 1);
        assert!(size_of::<Pattern>() + size_of::<Box<str>>() <= 32);
    }

    /// The plain definition: whatever `*` may take is tried.
    fn matches_naively(pattern: &str, name: &str, user: Option<&str>) -> bool {
        let mut behind = pattern;
        match next_element(&mut behind) {
            None => name.is_empty(),
            Some(Element::AnyText) => {
                let cuts = name.char_indices().map(|(at, _)| at).chain([name.len()]);
                cuts.into_iter().any(|cut| matches_naively(behind, &name[cut..], user))
            }
            Some(element) => {
                fit(&element, name, user, &mut 0).is_some_and(|rest| matches_naively(behind, rest, user))
            }
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_the_plain_definition(
            text in r"([ab*?]|\{sub\}|\[ab\]|\[!a\]|\{a,b\*\}){1,8}",
            name in "[abc]{0,10}",
            user in proptest::option::of("[ab]{1,3}"),
        ) {
            let parsed = Pattern::parse(&text);
            // Seven times `{a,b*}` are more alternatives than a pattern may have.
            prop_assume!(parsed != Err(PatternError::TooManyAlternatives));
            let pattern = parsed.unwrap();
            let expected =
                pattern.alternatives.iter().any(|one| matches_naively(one, &name, user.as_deref()));
            prop_assert_eq!(pattern.is_match(&name, user.as_deref()), expected);
        }

        #[test]
        fn any_text_is_a_pattern_or_not_and_travels_as_it_is(text in r"[ab\{},\[\]!*?-]{0,40}|.{0,40}") {
            if let Ok(pattern) = Pattern::parse(&text) {
                let encoded = rmp_serde::to_vec(&pattern).unwrap();
                prop_assert_eq!(rmp_serde::from_slice::<Pattern>(&encoded).unwrap(), pattern);
            }
        }

        /// However it is made, a pattern takes at most about its length times that of the name.
        #[test]
        fn the_number_of_steps_is_bounded(
            text in r"([a*?]|\{sub\}|\[ab\]|\[!b-y\]){1,30}",
            name in "a{0,120}[ab]{0,80}",
            user in "a{1,20}",
        ) {
            let pattern = pattern(&text);
            let (_, steps) = pattern.count_steps(&name, Some(&user));
            let bound = (name.len() + 1) * (text.len() + 2 * name.len() + 2);
            prop_assert!(steps <= bound, "{} of {}", steps, bound);
        }
    }

    #[test]
    fn what_makes_backtracking_matchers_explode_takes_few_steps_here() {
        let text = format!("{}b", "*a".repeat(100));
        let (is_match, steps) = pattern(&text).count_steps(&"a".repeat(256), None);
        assert!(!is_match);
        assert!(steps < 100_000, "{steps}");
    }

    #[test]
    fn what_another_node_sends_is_read_like_any_other() {
        for texts in [vec!["[a"], vec!["{a,b}"], vec![&*"a".repeat(300)], vec!["a"; 65]] {
            let encoded = rmp_serde::to_vec(&texts).unwrap();
            assert!(rmp_serde::from_slice::<Pattern>(&encoded).is_err(), "{texts:?}");
        }
    }
}
