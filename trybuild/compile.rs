//! What must compile does, and what must not says why in a sentence that can be acted on.

use std::path::Path;

#[test]
fn cases() {
    let cases = trybuild::TestCases::new();
    cases.pass("pass/*.rs");
    cases.compile_fail("fail/*.rs");
}

/// What the cases make the compiler say: the file and the sentence of each error.
fn messages() -> Vec<(String, String)> {
    let mut messages = Vec::new();
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("fail");
    for entry in std::fs::read_dir(cases).expect("there are cases") {
        let path = entry.expect("an entry").path();
        if path
            .extension()
            .is_none_or(|extension| extension != "stderr")
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("it can be read");
        // One that the compiler says in its own words may go on in its own words.
        let first = text.lines().find(|line| line.starts_with("error"));
        let ours = text.lines().filter(|line| line.starts_with("error: "));
        for line in first
            .into_iter()
            .chain(ours.filter(|_| !text.contains("`trait`s or")))
        {
            let (_, message) = line.split_once(": ").expect("an error has a message");
            let message = message.trim_start_matches("evaluation panicked: ");
            messages.push((path.display().to_string(), message.to_owned()));
        }
    }
    messages
}

/// The sentences of docs/errors.md, in which `…` stands for anything.
fn documented() -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let page = std::fs::read_to_string(page).expect("the page is there");
    page.split("```")
        .filter_map(|part| part.strip_prefix("text\n"))
        .flat_map(str::lines)
        .map(str::to_owned)
        .collect()
}

fn fits(message: &str, sentence: &str) -> bool {
    let mut parts = sentence.split('…');
    let Some(mut rest) = parts.next().and_then(|start| message.strip_prefix(start)) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else {
            return false;
        };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[test]
fn every_message_is_documented() {
    let documented = documented();
    for (file, message) in messages() {
        assert!(
            documented.iter().any(|sentence| fits(&message, sentence)),
            "{file}: docs/errors.md does not have: {message}"
        );
    }
}

#[test]
fn every_documented_message_has_a_case() {
    let messages = messages();
    for sentence in documented() {
        assert!(
            messages.iter().any(|(_, message)| fits(message, &sentence)),
            "no case in trybuild/fail says: {sentence}"
        );
    }
}

#[test]
fn a_sentence_fits_what_it_leaves_open() {
    assert!(fits("`a` is given twice", "`…` is given twice"));
    assert!(fits("unknown `a`, `b`: c", "unknown `…`, `…`: …"));
    assert!(!fits("`a` is given", "`…` is given twice"));
    assert!(!fits("is given twice", "is given"));
}
