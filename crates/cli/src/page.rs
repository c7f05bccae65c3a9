//! Pages that people keep and send on: one file, nothing fetched, readable on a phone and on paper.

const STYLE: &str = ":root{color-scheme:light dark;--ink:#1c2024;--paper:#fff;--soft:#596270;--line:#d5d9de;--good:#2b7a4b;--bad:#c0392b;--much:#a5670c}
@media(prefers-color-scheme:dark){:root{--ink:#e8eaed;--paper:#14171a;--soft:#9aa3ad;--line:#343a40;--good:#5bbf86;--bad:#ff7b6b;--much:#e6b04d}}
*{box-sizing:border-box}body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:52rem;margin:0 auto;padding:1rem;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{padding:.3rem .5rem;border-bottom:1px solid var(--line);text-align:right;font-variant-numeric:tabular-nums;vertical-align:top}
th:first-child,td:first-child,.text{text-align:left}caption,.soft{color:var(--soft);text-align:left;font-size:.9rem}
pre{border:1px solid var(--line);padding:.75rem;font-size:.85rem;white-space:pre-wrap}svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font:12px system-ui,sans-serif}.good{fill:var(--good)}.bad{fill:var(--bad)}.much{fill:var(--much)}.none{fill:var(--line)}
dl{display:grid;grid-template-columns:auto 1fr;gap:.15rem 1rem;margin:0}dt{text-align:right;font-variant-numeric:tabular-nums;font-weight:600}dd{margin:0}
article{border-left:3px solid var(--bad);padding:.1rem 0 .1rem .75rem;margin:1rem 0}article p{margin:.2rem 0}code{font-size:.85rem}
@media(max-width:34rem){body{padding:.75rem}th,td{padding:.25rem .3rem;font-size:.82rem}}
@media print{body{max-width:none}article,table,svg{break-inside:avoid}}";

/// A whole page around its body. The title is text, the body is HTML.
pub fn frame(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{}</title><style>{STYLE}</style></head><body><main>\n{body}</main></body></html>\n",
        escape(title)
    )
}

/// Text as HTML writes it, also inside of attributes. Bytes that a browser could not show are replaced.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\n' | '\t' => out.push(character),
            // Control characters, and those that turn the direction of what follows.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                out += &format!("\\u{{{:x}}}", u32::from(character));
            }
            _ => out.push(character),
        }
    }
    out
}

/// How one stripe of a barcode looks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stripe {
    /// As it should be: low and green.
    Good,
    /// Something is there too often, or is put aside: half height, yellow.
    Much,
    /// Something is missing or wrong: full height, red.
    Bad,
    /// Nothing is known: low and grey.
    Unknown,
}

/// Stripes from left to right; `label` says the same in words.
pub fn barcode(stripes: impl ExactSizeIterator<Item = Stripe>, label: &str) -> String {
    let mut out = format!(
        "<svg viewBox=\"0 0 {} 40\" preserveAspectRatio=\"none\" height=\"40\" style=\"height:40px\" role=\"img\" aria-label=\"{}\">",
        2 * stripes.len().max(1),
        escape(label)
    );
    for (index, stripe) in stripes.enumerate() {
        let (class, height) = match stripe {
            Stripe::Good => ("good", 8),
            Stripe::Much => ("much", 20),
            Stripe::Bad => ("bad", 40),
            Stripe::Unknown => ("none", 8),
        };
        out += &format!(
            "<rect class=\"{class}\" x=\"{}\" y=\"{}\" width=\"2\" height=\"{height}\"/>",
            2 * index,
            40 - height
        );
    }
    out + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup_and_nothing_turns_around() {
        assert_eq!(escape("<b a='1' c=\"2\">&\n"), "&lt;b a=&#39;1&#39; c=&quot;2&quot;&gt;&amp;\n");
        assert_eq!(escape("\0x\u{202e}y\x1b[1m"), "\\u{0}x\\u{202e}y\\u{1b}[1m");
        assert_eq!(escape("größe 💶"), "größe 💶");
    }

    #[test]
    fn a_page_fetches_nothing() {
        let page = frame("<t>", &barcode([Stripe::Good, Stripe::Bad].into_iter(), "one of two"));
        assert!(page.contains("<title>&lt;t&gt;</title>"));
        for word in ["http:", "https:", "src=", "url(", "<script", "@import"] {
            assert!(!page.contains(word), "{word}");
        }
        assert_eq!(page.matches("<rect").count(), 2);
    }
}
