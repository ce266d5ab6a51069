//! Licence expressions (SPDX), as far as crates use them: `AND`, `OR`, `WITH`, brackets, and `/` for `OR`.

/// Whether the expression can be met with the allowed licences alone.
pub fn is_met(expression: &str, allowed: &[String]) -> Result<bool, String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let tokens: Vec<&str> = spaced.split_whitespace().collect();
    let mut reader = Reader {
        tokens: &tokens,
        allowed,
    };
    let met = reader.any_of()?;
    if reader.tokens.is_empty() {
        Ok(met)
    } else {
        Err(format!("`{expression}` is not a licence expression"))
    }
}

struct Reader<'a> {
    tokens: &'a [&'a str],
    allowed: &'a [String],
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.tokens.first().copied()
    }

    fn take(&mut self) -> Option<&'a str> {
        let (first, rest) = self.tokens.split_first()?;
        self.tokens = rest;
        Some(first)
    }

    fn any_of(&mut self) -> Result<bool, String> {
        let mut met = self.all_of()?;
        while self.peek() == Some("OR") {
            self.take();
            met |= self.all_of()?;
        }
        Ok(met)
    }

    fn all_of(&mut self) -> Result<bool, String> {
        let mut met = self.one()?;
        while self.peek() == Some("AND") {
            self.take();
            met &= self.one()?;
        }
        Ok(met)
    }

    fn one(&mut self) -> Result<bool, String> {
        match self.take() {
            Some("(") => {
                let met = self.any_of()?;
                match self.take() {
                    Some(")") => Ok(met),
                    _ => Err("a bracket of a licence expression is not closed".to_owned()),
                }
            }
            None | Some("AND" | "OR" | "WITH" | ")") => Err("a licence is missing in an expression".to_owned()),
            Some(name) if self.peek() == Some("WITH") => {
                self.take();
                let exception = self.take().ok_or("an exception is missing after WITH")?;
                // An exception only adds permissions, yet it is another licence text: it is allowed by its full name.
                Ok(self.allows(&format!("{name} WITH {exception}")))
            }
            Some(name) => Ok(self.allows(name)),
        }
    }

    fn allows(&self, name: &str) -> bool {
        self.allowed.iter().any(|allowed| allowed == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_met_when_the_allowed_licences_satisfy_it() {
        let allowed = ["MIT".to_owned(), "Apache-2.0".to_owned(), "Unicode-3.0".to_owned()];
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("MIT AND GPL-3.0", false),
            ("Unlicense/MIT", true),
            ("(MIT OR GPL-3.0) AND Unicode-3.0", true),
            ("(MIT OR Apache-2.0) AND GPL-3.0", false),
            ("Apache-2.0 WITH LLVM-exception", false),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("GPL-3.0 OR MIT AND Unicode-3.0", true),
        ] {
            assert_eq!(is_met(expression, &allowed), Ok(expected), "{expression}");
        }
        for broken in ["", "MIT OR", "(MIT", "MIT MIT", "AND MIT"] {
            assert!(is_met(broken, &allowed).is_err(), "{broken}");
        }
    }
}
