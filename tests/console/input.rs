//! Bytes of a terminal become keys: whatever reports come, in whatever pieces, no key is lost or
//! invented.

use std::time::{Duration, Instant};

use crossterm::event::KeyCode;
use dagster_taskiq_tui::console::app::Mouse;
use dagster_taskiq_tui::console::input::{ESC_WAITS, InputEvent, Parser};
use dagster_taskiq_tui::console::key::{self, Key};
use proptest::prelude::*;

/// What these bytes tell, in one read, once nothing more comes.
fn told(bytes: &[u8]) -> Vec<InputEvent> {
    let (mut parser, start) = (Parser::default(), Instant::now());
    let mut heard = parser.feed(bytes, start);
    heard.extend(parser.expire(start + Duration::from_secs(10)));
    heard
}

fn keys(text: &str) -> Vec<InputEvent> {
    key::parse(text).into_iter().map(InputEvent::Key).collect()
}

#[test]
fn the_keys_of_every_kind_of_terminal_are_read() {
    for (bytes, expected) in [
        (
            b"\x1b[A\x1bOB\x1b[C\x1bOD".as_slice(),
            "<up><down><right><left>",
        ),
        (
            b"\x1b[H\x1b[F\x1bOH\x1bOF\x1b[1~\x1b[4~\x1b[7~\x1b[8~",
            "<home><end><home><end><home><end><home><end>",
        ),
        (b"\x1b[3~\x1b[5~\x1b[6~\x1b[Z", "<del><pgup><pgdn><s-tab>"),
        (b"\x1bOP\x1b[[A\x1b[11~\x1b[P", "<f1><f1><f1><f1>"),
        (
            b"\r\t\x7f\x03\x1a \x08",
            "<enter><tab><bs><c-c><c-z><space><c-h>",
        ),
        // Modifiers, as xterm, rxvt and PuTTY tell them; Shift is none on its own.
        (b"\x1b[1;2D\x1b[a\x1b[3$", "<left><up><del>"),
        // kitty's protocol and xterm's, a key that was pressed and let go.
        (
            b"\x1b[97u\x1b[97;1:3u\x1b[99;5u\x1b[27u\x1b[13u\x1b[97;2u\x1b[27;5;99~",
            "a<c-c><esc><enter>A<c-c>",
        ),
        (b"\x1b[97:65;2u\x1b[57399u\x1b[57441;2u", "A0"),
        ("é日👍".as_bytes(), "é日👍"),
        (b"\x1b", "<esc>"),
        (b"\x1b\x1b", "<esc><esc>"),
        (b"\x1bj", "<a-j>"),
        (b"\x1b[", "<a-[>"),
        (b"\xff\xfeq", "q"),
    ] {
        let name = String::from_utf8_lossy(bytes);
        assert_eq!(told(bytes), keys(expected), "{name:?}");
    }
    let alt_left = Key {
        alt: true,
        ..Key::plain(KeyCode::Left)
    };
    for bytes in [b"\x1b\x1b[D".as_slice(), b"\x1b\x1bOD", b"\x1b[1;3D"] {
        assert_eq!(told(bytes), [InputEvent::Key(alt_left)]);
    }
    let click = InputEvent::Mouse(Mouse::Click(9, 4));
    assert_eq!(
        told(b"\x1b[<0;10;5M\x1b[<0;10;5m\x1b[<65;1;1M"),
        [click, InputEvent::Mouse(Mouse::WheelDown)]
    );
    let pasted = InputEvent::Paste(String::from("a\x1b[Ab\n"));
    assert_eq!(told(b"\x1b[200~a\x1b[Ab\n\x1b[201~"), [pasted]);
}

#[test]
fn nothing_that_begins_is_waited_for_without_end() {
    for begun in [
        "\x1b]11;rgb:",
        "\x1bPq",
        "\x1b_G",
        "\x1b[?2026",
        "\x1b[<0;1",
        "\x1b[M ",
        "\x1b[200~text",
        "\u{65e5}",
    ] {
        let bytes = &begun.as_bytes()[..begun.len() - usize::from(begun == "\u{65e5}")];
        let (mut parser, start) = (Parser::default(), Instant::now());
        let _ = parser.feed(bytes, start);
        let due = parser.due().unwrap();
        assert!(due <= start + Duration::from_secs(1), "{begun:?}");
        let _ = parser.expire(due);
        assert_eq!(parser.feed(b"q", due), keys("q"), "{begun:?}");
    }
    // However quickly its bytes come.
    let (mut parser, start) = (Parser::default(), Instant::now());
    let _ = parser.feed(b"\x1b]", start);
    let late = (1..100).find(|tenth| {
        let now = start + Duration::from_millis(100) * *tenth;
        !parser.feed(b"q", now).is_empty()
    });
    assert!(late.is_some_and(|tenths| tenths <= 40), "{late:?}");
    // Ctrl-C gets through at once.
    let mut parser = Parser::default();
    assert_eq!(parser.feed(b"\x1b]11;\x03", start), keys("<c-c>"));
}

/// A report, or the beginning of nothing.
fn report() -> impl Strategy<Value = Vec<u8>> {
    let text = "[ -~]{0,40}";
    prop_oneof![
        // CSI of every kind that is no key.
        ("[?>=]", "[0-9;:]{0,20}", "[ -/]{0,2}", "[@-~]")
            .prop_map(|(a, b, c, d)| format!("\x1b[{a}{b}{c}{d}").into_bytes()),
        ("[0-9]{1,4};[0-9]{1,4}", "[Rtncxy]")
            .prop_map(|(a, b)| format!("\x1b[{a}{b}").into_bytes()),
        (text, "(\x07|\x1b\\\\)").prop_map(|(a, b)| format!("\x1b]{a}{b}").into_bytes()),
        ("[P_^X]", text).prop_map(|(a, b)| format!("\x1b{a}{b}\x1b\\").into_bytes()),
        ("[0-9]{1,3};[0-9]{1,3};[0-9]{1,3}").prop_map(|a| format!("\x1b[<35;{a}m").into_bytes()),
        Just(b"\x1b[I".to_vec()),
        Just(b"\x1b[O".to_vec()),
        Just(b"\x1b[M !!".to_vec()),
        Just(b"\x1b\\".to_vec()),
        // Longer than any buffer.
        Just([b"\x1b[?".as_slice(), &[b'1'; 5000], b"$y"].concat()),
        Just([b"\x1b]52;c;".as_slice(), &[b'A'; 50_000], b"\x07"].concat()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_report_in_any_pieces_loses_or_invents_a_key(
        reports in prop::collection::vec((report(), "[a-zA-Z0-9:/]"), 1..6),
        cuts in prop::collection::vec(1..40_usize, 1..30),
    ) {
        let mut bytes = Vec::new();
        let mut expected = String::new();
        for (report, key) in &reports {
            bytes.extend(report);
            bytes.extend(key.bytes());
            expected.push_str(key);
        }
        let (mut parser, mut now) = (Parser::default(), Instant::now());
        let mut heard = Vec::new();
        let mut rest = bytes.as_slice();
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            // The rest of a long report in one read.
            let cut = if rest.len() > 400 { rest.len() - 100 } else { *cut };
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            heard.extend(parser.feed(piece, now));
            now += ESC_WAITS / 20;
            rest = after;
        }
        prop_assert_eq!(heard, keys(&expected));
    }

    #[test]
    fn no_bytes_at_all_keep_a_later_key_away(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (mut parser, now) = (Parser::default(), Instant::now());
        let _ = parser.feed(&bytes, now);
        let later = now + Duration::from_secs(10);
        let _ = parser.expire(later);
        prop_assert!(parser.due().is_none());
        // The rest of a late sequence is no key, and `q` is none of those.
        prop_assert_eq!(parser.feed(b"q", later), keys("q"));
    }
}
