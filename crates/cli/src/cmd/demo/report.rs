//! The demo's page: one file, nothing fetched, readable on a phone and on paper.

use super::contest::Course;
use super::{End, Total};
use crate::talk::grouped;

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1c2024;--paper:#fff;--soft:#667;--line:#d5d9de;--good:#2b7a4b;--bad:#c0392b;--much:#b9770e}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--paper:#14171a;--soft:#9aa3ad;--line:#343a40;--good:#5bbf86;--bad:#ff7b6b;--much:#e6b04d}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:52rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
.wide{overflow-x:auto}th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}caption,.soft{color:var(--soft);text-align:left;font-size:.9rem}
pre{overflow-x:auto;border:1px solid var(--line);padding:.75rem;font-size:.85rem}svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}.good{fill:var(--good)}.bad{fill:var(--bad)}.much{fill:var(--much)}
@media print{body{max-width:none}pre{white-space:pre-wrap}}";

/// The whole page.
pub fn page(end: &End<'_>) -> String {
    let verdict = escape(&end.verdict());
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>Onceflow: the demo</title><style>{STYLE}</style></head><body><main>\n<h1>{verdict}</h1>\n\
         <p class=\"soft\">{} transfers, seed {}. Three processes read the same log and were killed (SIGKILL) the moment they got beyond the same numbers of records.</p>\n\
         {}<h2>Drift under fire</h2>\n{}<h2>Where it went wrong</h2>\n{}<h2>Look for yourself</h2>\n{}</main></body></html>\n",
        grouped(end.demo.rows),
        end.demo.seed,
        totals(end),
        drift(end.courses),
        barcodes(end),
        commands(end)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

fn totals(end: &End<'_>) -> String {
    let row = |name: &str, rows: u64, missing: u64, repeated: u64, sum: i64| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{sum}</td></tr>\n",
            escape(name),
            grouped(rows),
            grouped(missing),
            grouped(repeated)
        )
    };
    let mut rows = row("what was sent", end.demo.rows, 0, 0, end.control);
    for (course, total) in end.courses.iter().zip(end.totals) {
        rows += &row(course.who.name(), total.rows, total.missing(end.demo.rows), total.repeated(), total.amount);
    }
    format!(
        "<div class=\"wide\"><table><caption>Rows in each table against the transfers that were sent</caption>\
         <tr><th scope=\"col\">program</th><th scope=\"col\">rows</th><th scope=\"col\">missing</th><th scope=\"col\">repeated</th>\
         <th scope=\"col\">sum of amounts</th></tr>\n{rows}</table></div>\n"
    )
}

/// Rows minus records that the position says were done, kill by kill: two staircases and a flat line.
#[allow(clippy::cast_precision_loss)]
fn drift(courses: &[Course]) -> String {
    let most =
        courses.iter().flat_map(|course| course.hits.iter().chain([&course.end])).map(|hit| hit.drift().abs()).max();
    let most = most.unwrap_or(0).max(1) as f64;
    let steps = courses.iter().map(|course| course.hits.len()).max().unwrap_or(0) + 1;
    let (x, y) =
        (|step: usize| 40.0 + 640.0 * step as f64 / steps as f64, |drift: i64| 110.0 - 90.0 * drift as f64 / most);
    let mut out = String::from(
        "<svg viewBox=\"0 0 700 230\" role=\"img\" aria-label=\"rows too many or too few after each kill\"><title>Rows too many or too few after each kill</title>\
         <line x1=\"40\" y1=\"110\" x2=\"680\" y2=\"110\" stroke=\"var(--line)\"/>",
    );
    out += &format!(
        "<text x=\"2\" y=\"24\">+{most}</text><text x=\"2\" y=\"114\">0</text><text x=\"2\" y=\"204\">−{most}</text><text x=\"600\" y=\"225\">kills →</text>"
    );
    for (course, color) in courses.iter().zip(["var(--much)", "var(--bad)", "var(--good)"]) {
        let mut points = format!("{:.1},{:.1}", x(0), y(0));
        let mut before = 0;
        for (step, hit) in course.hits.iter().chain([&course.end]).enumerate() {
            points += &format!(" {:.1},{:.1} {:.1},{:.1}", x(step + 1), y(before), x(step + 1), y(hit.drift()));
            before = hit.drift();
        }
        out += &format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2.5\"><title>{}</title></polyline>",
            course.who.name()
        );
        let above = if before < 0 { 16.0 } else { -6.0 };
        out += &format!("<text x=\"470\" y=\"{:.1}\">{} {before:+}</text>", y(before) + above, course.who.name());
    }
    out + "</svg>\n<p class=\"soft\">Rows in the table minus records that the stored position calls done, looked at while the process was dead.</p>\n"
}

/// One stripe for so many transfers, in the order of the log; the worst of them gives the colour and the height.
fn barcodes(end: &End<'_>) -> String {
    let codes = end
        .courses
        .iter()
        .zip(end.totals)
        .map(|(course, total)| format!("<p>{}</p>\n{}", escape(course.who.name()), barcode(total)));
    codes.collect::<String>()
        + "<p class=\"soft\">Each stripe is a part of the log. Full height, red: transfers are missing. Half height, yellow: some are there twice. Low, green: each is there once.</p>\n"
}

fn barcode(total: &Total) -> String {
    let mut out = format!(
        "<svg viewBox=\"0 0 {} 40\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{} missing, {} repeated\">",
        2 * total.stripes.len(),
        total.stripes.iter().map(|[expected, _, ids]| expected.saturating_sub(*ids)).sum::<u64>(),
        total.repeated()
    );
    for (index, [expected, rows, ids]) in total.stripes.iter().enumerate() {
        let (class, height) = match (ids < expected, rows > ids) {
            (true, _) => ("bad", 40),
            (false, true) => ("much", 20),
            (false, false) => ("good", 8),
        };
        out += &format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"2\" height=\"{height}\"/>",
            2 * index,
            40 - height
        );
    }
    out + "</svg>\n"
}

fn commands(end: &End<'_>) -> String {
    let mut text = String::new();
    for course in end.courses {
        let path = course.who.database(end.folder);
        text += &format!(
            "sqlite3 '{}' 'SELECT count(*), count(DISTINCT id), sum(amount) FROM transfers'\n",
            path.display()
        );
    }
    text += &format!("cd '{}' && onceflow audit transfers.sql\n", end.folder.display());
    format!("<pre>{}</pre>\n", escape(&text))
}
