//! The page in a real browser, Debian's chromium: every text has the contrast that WCAG 2.2 asks of
//! level AA, in both schemes and on a phone, and every bar shows the value that stands beside it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Entrance, WRITE, a_log, entrance, pool, seen, some};

const LINK: &str = r#"<link rel="stylesheet" href="/style.css">"#;
/// Guards against hanging, in seconds.
const GUARD: &str = "60";

/// How somebody looks at it.
#[derive(Clone, Copy, Debug)]
struct Look {
    is_dark: bool,
    width: u32,
}

/// Something that can be seen, as `measure.js` says it.
#[derive(Debug)]
struct Line {
    what: String,
    contrast: f64,
    least: f64,
    text: String,
}

fn chromium(look: Look, page: &Path) -> Command {
    let mut command = Command::new("timeout");
    command.args([GUARD, "chromium", "--headless", "--no-sandbox", "--disable-gpu"]);
    // Blink's PreferredColorScheme: 0 is dark, 1 is light.
    command.arg(format!("--blink-settings=preferredColorScheme={}", u8::from(!look.is_dark)));
    command.arg(format!("--window-size={},1400", look.width));
    command.env("HOME", page.parent().unwrap());
    command
}

fn measure(html: &str, name: &str, look: Look) -> Vec<Line> {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let style = format!("<style>{}</style>", crate::page::STYLE);
    assert!(html.contains(LINK), "{html}");
    let html = html.replace(LINK, &style).replace("http-equiv=\"refresh\"", "");
    let script = format!("<script>{}</script></body>", include_str!("measure.js"));
    fs::write(&page, html.replace("</body>", &script)).unwrap();
    let url = format!("file://{}", page.display());
    let output = chromium(look, &page).args(["--dump-dom", &url]).output().unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    let attribute = |name: &str| {
        let begin = format!("{name}=\"");
        let value = found.split_once(&begin).and_then(|(_, rest)| rest.split_once('"'));
        value.map(|(value, _)| value.to_owned()).unwrap_or_else(|| panic!("{name}: {found}"))
    };
    assert_eq!(attribute("data-scheme") == "dark", look.is_dark);
    if let Some(folder) = std::env::var_os(WRITE) {
        let scheme = if look.is_dark { "dark" } else { "light" };
        let picture = Path::new(&folder).join(format!("{name}-{scheme}-{}.png", look.width));
        let shot = format!("--screenshot={}", picture.display());
        assert!(chromium(look, &page).args([&shot, &url]).output().unwrap().status.success());
    }
    attribute("data-measured").lines().map(line).collect()
}

fn line(text: &str) -> Line {
    let parts: Vec<&str> = text.split('|').collect();
    let [what, contrast, least, text] = parts[..] else { panic!("{text:?}") };
    let (contrast, least) = (contrast.parse().unwrap(), least.parse().unwrap());
    Line { what: what.into(), contrast, least, text: text.into() }
}

#[test]
fn everything_can_be_read_in_a_browser() {
    let pages = [
        ("pool", pool(&seen(some())).unwrap(), 60),
        (
            "entrance",
            entrance(&Entrance {
                title: "Log in".into(),
                fault: Some("this token is not good".into()),
                form: true,
                refresh: false,
            })
            .unwrap(),
            3,
        ),
        ("log", a_log("disk.read", "[    1.000] repave INFO  server"), 8),
    ];
    for (name, html, least) in &pages {
        for (is_dark, width) in [(false, 1300), (true, 1300), (false, 400), (true, 400)] {
            let look = Look { is_dark, width };
            let lines = measure(html, name, look);
            assert!(lines.len() >= *least, "{name} {look:?}: {lines:#?}");
            let faint: Vec<&Line> =
                lines.iter().filter(|line| line.contrast < line.least).collect();
            assert!(faint.is_empty(), "{name} {look:?}: {faint:#?}");
            if *name == "pool" {
                bars(&lines);
            }
        }
    }
}

/// Each bar is as long as the number beside it says.
fn bars(lines: &[Line]) {
    let bars: Vec<&str> =
        lines.iter().filter(|line| line.what == "bar").map(|line| line.text.as_str()).collect();
    for expected in ["METER Up of 4 0.50", "METER Load 0.81", "METER CPU in use 0.20"] {
        assert!(bars.contains(&expected), "{expected}: {bars:#?}");
    }
    assert!(bars.iter().any(|bar| bar.starts_with("PROGRESS Image dealt with 0.4")), "{bars:#?}");
}
