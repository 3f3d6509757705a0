//! What a terminal sends besides keys: reports that nobody asked for, sequences in pieces, pasted text
//! without brackets. Nothing of it runs a command or swallows a later key.

use std::thread;
use std::time::Duration;

use super::session::Session;

/// Reports as terminals, multiplexers and editors leave them behind.
const REPORTS: &[&[u8]] = &[
    // Modes (DECRPM), of DEC and of ANSI.
    b"\x1b[?2026;2$y",
    b"\x1b[?1;0$y\x1b[4;1$y",
    // Dark or light, status, the cursor's place, attributes of two kinds.
    b"\x1b[?997;1n",
    b"\x1b[0n",
    b"\x1b[12;40R\x1b[?12;40;1R",
    b"\x1b[?62;22c\x1b[>41;354;0c\x1b[=0c",
    // The window's size, the keyboard's flags, focus, a key that was let go.
    b"\x1b[8;24;80t\x1b[4;600;800t",
    b"\x1b[?0u",
    b"\x1b[I\x1b[O",
    b"\x1b[97;1:3u",
    // Colours, the clipboard, a window's title, up to either terminator.
    b"\x1b]11;rgb:0000/2b2b/3636\x1b\\",
    b"\x1b]10;rgb:ffff/ffff/ffff\x07",
    b"\x1b]52;c;cHVyZ2UK\x07",
    b"\x1b]lDrain: everything\x1b\\",
    // A version, a capability, a setting, kitty's graphics, what the others are called.
    b"\x1bP>|XTerm(388)\x1b\\",
    b"\x1bP1+r544e=787465726d\x1b\\",
    b"\x1bP0$r1 q\x1b\\",
    b"\x1b_Gi=31;OK\x1b\\",
    b"\x1b^private\x1b\\\x1bXstring\x1b\\",
    // The mouse, in its three forms, and the end of something else.
    b"\x1b[<35;10;5M\x1b[<0;10;5m",
    b"\x1b[M #!",
    b"\x1b[35;10;5M",
    b"\x1b\\",
    b"\x1b[201~",
];

/// The screen without blanks at the ends of its lines.
fn shown(session: &Session) -> Vec<String> {
    let contents = session.contents();
    contents
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

fn leaves(mut session: Session) {
    session.keys("q");
    session.ends_restored("LEFT Ok(Left)");
}

#[test]
fn a_report_of_the_terminal_is_no_key_and_swallows_none() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    session.settle();
    let screen = shown(&session);
    for report in REPORTS {
        // Whole, and in pieces as a slow line brings them.
        session.bytes(report);
        for byte in *report {
            session.bytes(&[*byte]);
        }
        session.keys("5");
        session.wait_for_text("Python hosts of");
        session.keys("1");
        let name = String::from_utf8_lossy(report).into_owned();
        session.wait_until(&format!("the screen after {name:?}"), |session| {
            shown(session) == screen
        });
    }
    session.bytes(&REPORTS.concat());
    leaves(session);
}

#[test]
fn an_arrow_whose_bytes_come_apart_is_an_arrow() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    for pieces in [
        &[b"\x1b".as_slice(), b"[D"][..],
        &[b"\x1b[", b"D"],
        &[b"\x1b", b"[", b"1;5", b"D"],
        &[b"\x1b", b"OD"],
        &[b"\x1bO", b"P"],
        &[b"\x1bO", b"S"],
        &[b"\x1b\x1b[D"],
        &[b"\x1b\x1b", b"[A"],
        &[b"\x1b[1;3D"],
        &[b"\x1bOC"],
    ] {
        session.keys("2");
        session.wait_for_text("AS OF");
        for piece in pieces {
            session.bytes(piece);
            thread::sleep(Duration::from_millis(20));
        }
        session.settle();
        let screen = session.contents();
        assert!(
            !screen.contains("Esc leave") && !screen.contains("Type "),
            "{pieces:?}:\n{screen}"
        );
        // F1 is help.
        session.bytes(b"\x1b");
        session.settle();
    }
    leaves(session);
}

#[test]
fn the_rest_of_a_sequence_that_comes_too_late_is_not_typed() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    for rest in [b"[D".as_slice(), b"]11;rgb:0000/2b2b/3636\x1b\\"] {
        session.keys("5");
        session.wait_for_text("Python hosts of");
        session.bytes(b"\x1b");
        // Esc leads back to the first view: it was taken for a key.
        session.wait_for_text("No steps in flight");
        session.bytes(rest);
        session.settle();
        let screen = session.contents();
        // A late Left is Left, which shows the view beside the first.
        let is_view = screen.contains("No steps in flight") || screen.contains("Dagster ─");
        assert!(is_view && !screen.contains("Drain worker"), "{screen}");
    }
    leaves(session);
}

#[test]
fn esc_and_a_key_in_one_piece_are_both() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    session.keys("5/nobody");
    session.wait_for_text("0 of");
    session.bytes(b"\x1b1");
    session.wait_for_text("No steps in flight");
    leaves(session);
}

#[test]
fn pasted_text_is_not_obeyed_whether_it_comes_in_brackets_or_not() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    for pasted in [
        b"prod-pool".as_slice(),
        b"drain everything\rthen stop\r",
        b"\x1b[200~prod-pool\nX\x1b[201~",
        "münchen-1".as_bytes(),
    ] {
        session.keys("5");
        session.wait_for_text("Python hosts of");
        session.bytes(pasted);
        session.wait_for_text("nothing was done");
        let screen = session.contents();
        assert!(
            screen.contains("Python hosts of") && !screen.contains("done as asked"),
            "{screen}"
        );
        // The note goes with Esc, which leads back as well.
        session.bytes(b"\x1b");
        session.wait_until("the note is gone", |session| {
            !session.contents().contains("nothing was done")
        });
        // Keys that follow a paste within a tenth of a second are its rest.
        thread::sleep(Duration::from_millis(150));
    }
    session.keys("5/");
    session.bytes(b"\x1b[200~id1\nid2\x1b[201~");
    session.wait_for_text("/ id1 id2");
    session.bytes(b"\x15");
    session.bytes(b"prod-pool");
    session.wait_for_text("/ prod-pool");
    session.bytes(b"\x1b");
    session.settle();
    leaves(session);
}

#[test]
fn what_was_sent_while_an_editor_had_the_terminal_is_not_obeyed() {
    // It asks the terminal something and does not wait for the answer.
    let mut session = Session::start_with("calm", "stty -icanon -echo; echo ASKED; sleep 1; : ");
    session.wait_for_text("No steps in flight");
    session.keys("lnightly\r");
    session.wait_for_text("the job's own, 1 line");
    session.keys("e");
    session.wait_for_text("ASKED");
    session.keyboard_only(b"\x1b]11;rgb:0000/2b2b/3636\x1b\\qqq");
    session.wait_for_text("Enter checks and launches");
    session.settle();
    assert!(
        session.contents().contains("Launch nightly_etl"),
        "{}",
        session.contents()
    );
    session.keys("\x03");
    session.settle();
    leaves(session);
}

#[test]
fn the_cursor_of_the_terminal_stands_where_a_person_types_and_on_the_chosen_row() {
    let mut session = Session::start("calm");
    session.wait_for_text("No steps in flight");
    session.keys("5");
    session.wait_for_text("Python hosts of");
    session.settle();
    let at = session.terminal().screen().cursor_position();
    assert!(
        session
            .contents()
            .lines()
            .nth(at.0.into())
            .unwrap()
            .contains('▌'),
        "{at:?}\n{}",
        session.contents()
    );
    assert!(session.terminal().screen().hide_cursor());
    session.keys("/日本x");
    session.wait_for_text("/ 日本x");
    session.settle();
    let bottom = session.terminal().screen().size().0.get() - 1;
    // A blank, the sign, a blank, two characters of two columns and one.
    assert_eq!(session.terminal().screen().cursor_position(), (bottom, 8));
    assert!(!session.terminal().screen().hide_cursor());
    for (keys, column) in [
        (b"\x1b[D".as_slice(), 7),
        (b"\x1b[D", 5),
        (b"\x1b[H", 3),
        (b"\x1b[F", 8),
    ] {
        session.bytes(keys);
        session.wait_until("the cursor's move", |session| {
            session.terminal().screen().cursor_position() == (bottom, column)
        });
    }
    session.bytes(b"\x1b");
    session.settle();
    leaves(session);
}
