//! The demo's page: one file, nothing fetched, readable on a phone and on paper.

use super::contest::Course;
use super::{End, Total};
use crate::page::{self, Stripe, escape, frame};
use crate::talk::grouped;

/// The whole page.
pub fn whole(end: &End<'_>) -> String {
    let verdict = escape(&end.verdict());
    let body = format!(
        "<h1>{verdict}</h1>\n\
         <p class=\"soft\">{} transfers, seed {}. Three processes read the same log and were killed (SIGKILL) the moment they got beyond the same numbers of records.</p>\n\
         {}<h2>Drift under fire</h2>\n{}<h2>Where it went wrong</h2>\n{}<h2>Look for yourself</h2>\n{}",
        grouped(end.demo.rows),
        end.demo.seed,
        totals(end),
        drift(end.courses),
        barcodes(end),
        commands(end)
    );
    frame("Onceflow: the demo", &body)
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
        "<table><caption>Rows in each table against the transfers that were sent</caption>\
         <tr><th scope=\"col\">program</th><th scope=\"col\">rows</th><th scope=\"col\">missing</th><th scope=\"col\">repeated</th>\
         <th scope=\"col\">sum of amounts</th></tr>\n{rows}</table>\n"
    )
}

/// Rows minus records that the position says were done, over time: two staircases and a flat line. Kills are marked below.
#[allow(clippy::cast_precision_loss)]
fn drift(courses: &[Course]) -> String {
    let hits = || courses.iter().flat_map(|course| course.hits.iter().chain([&course.end]));
    let most = hits().map(|hit| hit.drift().abs()).max().unwrap_or(0).max(1);
    let last = hits().map(|hit| hit.at).max().unwrap_or(0).max(1);
    let x = |at: u128| 60.0 + 620.0 * at as f64 / last as f64;
    let y = |drift: i64| 110.0 - 90.0 * drift as f64 / most as f64;
    let mut out = String::from(
        "<svg viewBox=\"0 0 700 260\" role=\"img\" aria-label=\"rows too many or too few, over time\"><title>Rows too many or too few, over time</title>\
         <line x1=\"60\" y1=\"110\" x2=\"680\" y2=\"110\" stroke=\"var(--line)\"/>",
    );
    out += &format!(
        "<text x=\"2\" y=\"24\">+{0}</text><text x=\"2\" y=\"114\">0</text><text x=\"2\" y=\"204\">−{0}</text>\
         <text x=\"2\" y=\"226\">kills</text><text x=\"60\" y=\"255\">0 s</text><text x=\"640\" y=\"255\">{1:.1} s</text>",
        grouped(most.unsigned_abs()),
        last as f64 / 1_000.0
    );
    for (index, (course, color)) in courses.iter().zip(["var(--much)", "var(--bad)", "var(--good)"]).enumerate() {
        let mut points = format!("{:.1},{:.1}", x(0), y(0));
        let mut before = 0;
        for hit in course.hits.iter().chain([&course.end]) {
            points += &format!(" {:.1},{:.1} {:.1},{:.1}", x(hit.at), y(before), x(hit.at), y(hit.drift()));
            before = hit.drift();
        }
        let name = course.who.name();
        out += &format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2.5\"><title>{name}</title></polyline>"
        );
        for hit in &course.hits {
            let (at, top) = (x(hit.at), 216 + 6 * index);
            out += &format!(
                "<line x1=\"{at:.1}\" y1=\"{top}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"{color}\" stroke-width=\"2\"/>",
                top + 5
            );
        }
        let above = if before < 0 { 16.0 } else { -6.0 };
        out += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name} {before:+}</text>",
            x(course.end.at),
            y(before) + above
        );
    }
    out + "</svg>\n<p class=\"soft\">Rows in the table minus records that the stored position calls done, looked at whenever the process had been killed \
           and at the end. The small marks below are the kills, in the colours of the lines.</p>\n"
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
    let missing: u64 = total.stripes.iter().map(|[expected, _, ids]| expected.saturating_sub(*ids)).sum();
    let stripes = total.stripes.iter().map(|[expected, rows, ids]| match (ids < expected, rows > ids) {
        (true, _) => Stripe::Bad,
        (false, true) => Stripe::Much,
        (false, false) => Stripe::Good,
    });
    page::barcode(stripes, &format!("{missing} missing, {} repeated", total.repeated()))
}

fn commands(end: &End<'_>) -> String {
    let mut text: String = end.look().iter().map(|command| format!("{command}\n")).collect();
    text += &format!("cd '{}' && onceflow audit transfers.sql\n", end.place.folder.display());
    format!("<pre>{}</pre>\n", escape(&text))
}
