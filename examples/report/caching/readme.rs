//! The short table inside a page that people write.

use crate::Result;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- caching: made by `make report` -->\n";
const END: &str = "<!-- caching: end -->\n";

/// Whether the page has its markers.
pub fn check(path: &Path) -> Result<()> {
    replaced(&read(path)?, "").map(drop).map_err(|why| format!("{}: {why}", path.display()).into())
}

/// Puts `excerpt` between the page's markers, in place of what is there.
pub fn put(path: &Path, excerpt: &str) -> Result<()> {
    let page = replaced(&read(path)?, excerpt);
    fs::write(path, page.map_err(|why| format!("{}: {why}", path.display()))?)?;
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}

fn replaced(page: &str, excerpt: &str) -> std::result::Result<String, String> {
    let missing = |marker: &str| format!("expected a line {:?}, found none", marker.trim());
    let (before, rest) = page.split_once(BEGIN).ok_or_else(|| missing(BEGIN))?;
    let (_, after) = rest.split_once(END).ok_or_else(|| missing(END))?;
    Ok(format!("{before}{BEGIN}{excerpt}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_changes() {
        let page = format!("# A\n{BEGIN}old\n{END}b\n");
        let new = replaced(&page, "new\n").unwrap();
        assert_eq!(new, format!("# A\n{BEGIN}new\n{END}b\n"));
        assert_eq!(replaced(&new, "old\n").unwrap(), page);
        assert!(replaced("# A\n", "new").unwrap_err().contains("caching: made by"));
        assert!(replaced(BEGIN, "new").unwrap_err().contains("caching: end"));
    }
}
