//! The pages that people keep, in a real browser: the demo's and the audit's, on a phone and on paper, with nothing fetched.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// Widths of a phone and of a desk, in CSS pixels.
const WIDTHS: [u32; 2] = [390, 1_100];

/// Chromium, or `None` with a line that says so.
fn browser() -> Option<PathBuf> {
    let named = std::env::var_os("ONCEFLOW_TEST_CHROMIUM").filter(|path| !path.is_empty()).map(PathBuf::from);
    let found = named.or_else(|| {
        let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name))).find(|path| path.is_file())
    });
    match found {
        Some(browser) => Some(browser),
        None if std::env::var_os("ONCEFLOW_TEST_REQUIRE").is_some() => panic!("a browser is required, and not there"),
        None => {
            println!("not run: needs Chromium (./scripts/test provides it)");
            None
        }
    }
}

fn onceflow(folder: &Path, arguments: &[&str]) -> i32 {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onceflow"));
    let output = command.args(arguments).current_dir(folder).output().expect("it was built");
    output.status.code().unwrap_or(-1)
}

/// Runs the browser on a page with these arguments; its stdout.
fn browse(browser: &Path, folder: &Path, page: &Path, arguments: &[String]) -> String {
    let profile = folder.join("profile");
    let output = Command::new(browser)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
        ])
        .args(["--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=5000"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(arguments)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .expect("the browser starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What the browser made of a page of a width.
struct Seen {
    /// How wide the page's content is.
    scroll: u32,
    /// What it fetched.
    requests: u32,
    /// Stripes of barcodes that have a size.
    stripes: u32,
    /// Its text.
    text: String,
}

/// Lays a page out in a frame of a width: a window of a browser has a least width of its own.
fn lay_out(browser: &Path, folder: &Path, page: &Path, width: u32) -> Seen {
    let html = std::fs::read_to_string(page).expect("the page was written");
    let tell = "<script>addEventListener('load',()=>{const d=document.documentElement;\
                const stripes=[...document.querySelectorAll('rect')].filter(r=>r.getBoundingClientRect().height>0).length;\
                parent.postMessage([d.scrollWidth,performance.getEntriesByType('resource').length,stripes,document.body.innerText],'*')})</script>";
    let html = html.replace("</body>", &format!("{tell}</body>"));
    assert!(html.contains(tell), "the page has a body");
    std::fs::write(folder.join("inner.html"), html).expect("the folder is ours");
    let outer = format!(
        "<!doctype html><body><pre id=\"said\"></pre><script>addEventListener('message',e=>{{\
         document.getElementById('said').textContent='SEEN'+JSON.stringify(e.data)+'END'}})</script>\
         <iframe src=\"inner.html\" style=\"width:{width}px;height:900px;border:0\"></iframe></body>"
    );
    let path = folder.join("outer.html");
    std::fs::write(&path, outer).expect("the folder is ours");
    let dom = browse(browser, folder, &path, &["--dump-dom".to_owned()]);
    let said = dom.split_once("SEEN").and_then(|(_, rest)| rest.split_once("END")).unwrap_or_else(|| panic!("{dom}")).0;
    let said = said.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    let number = |index: usize| u32::try_from(said[index].as_u64().expect("a number")).expect("a small one");
    Seen {
        scroll: number(0),
        requests: number(1),
        stripes: number(2),
        text: said[3].as_str().expect("a text").to_owned(),
    }
}

/// Checks a page at all widths and on paper; its text.
fn check(browser: &Path, folder: &Path, page: &Path, stripes: u32) -> String {
    let mut text = String::new();
    for width in WIDTHS {
        let seen = lay_out(browser, folder, page, width);
        assert!(seen.scroll <= width, "{width}: the page is {} pixels wide", seen.scroll);
        assert_eq!((seen.requests, seen.stripes), (0, stripes), "{width}");
        text = seen.text;
    }
    let paper = folder.join("paper.pdf");
    browse(browser, folder, page, &[format!("--print-to-pdf={}", paper.display())]);
    let paper = std::fs::read(paper).expect("it was printed");
    assert!(paper.starts_with(b"%PDF") && paper.len() > 5_000, "{} bytes", paper.len());
    text
}

/// A wider page than its frame is seen as such, or the checks would prove nothing.
#[test]
fn a_page_that_is_too_wide_is_noticed() {
    let Some(browser) = browser() else { return };
    let folder = TempDir::new().expect("a folder");
    let page = folder.path().join("wide.html");
    std::fs::write(&page, "<!doctype html><body><div style=\"width:600px\">x</div></body>")
        .expect("the folder is ours");
    assert!(lay_out(&browser, folder.path(), &page, 390).scroll >= 600);
}

#[test]
fn the_demos_page_is_readable_on_a_phone_and_on_paper() {
    let Some(browser) = browser() else { return };
    let folder = TempDir::new().expect("a folder");
    let out = folder.path().join("demo");
    let arguments = ["demo", "--rows", "30000", "--kills", "8", "--out", "demo"];
    assert_eq!(onceflow(folder.path(), &arguments), 0);
    let text = check(&browser, folder.path(), &out.join("report.html"), 3 * 400);
    for word in ["commit-after-write", "commit-before-write", "onceflow", "30,000", "Drift under fire"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn the_audits_page_says_what_was_found_where_and_shows_hostile_rows_as_text() {
    let Some(browser) = browser() else { return };
    let folder = TempDir::new().expect("a folder");
    let sql = "SET 'auto-create' = 'true';
        CREATE TABLE src (id BIGINT NOT NULL, note STRING) WITH ('connector' = 'filesystem', 'path' = 'in.jsonl', 'format' = 'json');
        CREATE TABLE copy (id BIGINT NOT NULL, note STRING) WITH ('connector' = 'sqlite', 'url' = 'sqlite:out.db', 'table-name' = 'copy');
        INSERT INTO copy SELECT id, note FROM src;";
    let hostile = "<script>document.title='taken'</script><img src=x onerror=alert(1)>";
    let wide = "x".repeat(2_000);
    let line = |id: u32| {
        let note = if id.is_multiple_of(2) { hostile.to_owned() } else { format!("{wide}{id}") };
        format!("{}\n", serde_json::json!({"id": id, "note": note}))
    };
    std::fs::write(folder.path().join("p.sql"), sql).expect("the folder is ours");
    std::fs::write(folder.path().join("in.jsonl"), (0..1_000).map(line).collect::<String>())
        .expect("the folder is ours");
    assert_eq!(onceflow(folder.path(), &["run", "p.sql"]), 0);
    let database = rusqlite::Connection::open(folder.path().join("out.db")).expect("it was written");
    database.execute_batch("DELETE FROM copy WHERE id IN (500, 501)").expect("the table is there");
    assert_eq!(onceflow(folder.path(), &["audit", "p.sql", "--html", "report.html"]), 1);
    let text = check(&browser, folder.path(), &folder.path().join("report.html"), 200);
    for word in ["2 findings", "missing in copy", hostile, "in.jsonl"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
