//! The dependency graph as `cargo metadata` tells it.

use std::collections::BTreeSet;

use serde_json::Value;

/// One package that is part of the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its licence expression, if it declares one.
    pub licence: Option<String>,
    /// Where it comes from; none for the packages of this workspace.
    pub source: Option<String>,
}

/// The packages that cargo resolved; those of other platforms are listed too, and left out here.
pub fn packages(metadata: &Value) -> Result<Vec<Package>, String> {
    let wrong = || "cargo's metadata has another form than expected".to_owned();
    let nodes = metadata["resolve"]["nodes"].as_array().ok_or_else(wrong)?;
    let resolved: BTreeSet<&str> = nodes.iter().filter_map(|node| node["id"].as_str()).collect();
    let all = metadata["packages"].as_array().ok_or_else(wrong)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    all.iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| resolved.contains(id)))
        .map(|package| {
            Ok(Package {
                name: text(&package["name"]).ok_or_else(wrong)?,
                version: text(&package["version"]).ok_or_else(wrong)?,
                licence: text(&package["license"]),
                source: text(&package["source"]),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn packages_of_other_platforms_are_left_out() {
        let metadata = json!({
            "resolve": { "nodes": [{ "id": "a" }] },
            "packages": [
                { "id": "a", "name": "here", "version": "1.0.0", "license": "MIT", "source": null },
                { "id": "b", "name": "elsewhere", "version": "1.0.0", "license": "MIT", "source": null },
            ],
        });
        let names: Vec<String> = packages(&metadata)
            .expect("reads")
            .into_iter()
            .map(|package| package.name)
            .collect();
        assert_eq!(names, ["here"]);
    }

    #[test]
    fn another_form_is_an_error_and_not_an_empty_graph() {
        assert!(packages(&json!({ "packages": [] })).is_err());
    }
}
