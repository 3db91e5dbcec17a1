//! Numbers for people.

/// Renders a whole number with a comma before each three digits: `1,204`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma = |n: usize| n > 0 && (digits.len() - n).is_multiple_of(3);
    digits.chars().enumerate().flat_map(|(n, digit)| comma(n).then_some(',').into_iter().chain([digit])).collect()
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_separated() {
        let rendered = [0, 7, 999, 1000, 65_536, 1_234_567].map(grouped);
        assert_eq!(rendered, ["0", "7", "999", "1,000", "65,536", "1,234,567"]);
    }
}
