//! All skills of this installation by name, with their argument validators compiled once.
//!
//! Refuses to know: which agent may call which skill. Invariants: no two skills share a name; arguments that do
//! not pass [`Catalogue::validate`] reach no skill.

use std::collections::BTreeMap;
use std::sync::Arc;

use jsonschema::Validator;
use serde_json::Value;

use crate::domain::conversation::Arguments;
use crate::domain::effect::EffectClass;
use crate::domain::handoff::Finding;
use crate::domain::json;
use crate::domain::limits::{ARGUMENTS_BYTES_MAX, JSON_DEPTH_MAX};
use crate::domain::name::SkillName;
use crate::domain::skill::SkillManifest;

use super::skill::Skill;

/// Findings about one set of arguments; more are not reported.
const FINDINGS_MAX: usize = 16;
/// Characters of a description.
const DESCRIPTION_CHARS_MAX: usize = 1024;

/// Says why a set of skills makes no catalogue.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Two skills have one name.
    #[error("failed to add skill {name}: the name is taken")]
    Taken {
        /// The name.
        name: SkillName,
    },
    /// The input schema is no JSON Schema, or not one for objects.
    #[error("failed to compile the input schema of skill {name}: {reason}")]
    Schema {
        /// Whose.
        name: SkillName,
        /// What is wrong with it.
        reason: String,
    },
    /// The description is too long for a model's list of tools.
    #[error("failed to add skill {name}: its description has {chars} characters, at most 1024 are allowed")]
    Description {
        /// Whose.
        name: SkillName,
        /// How many it has.
        chars: usize,
    },
}

#[derive(Clone)]
struct Entry {
    skill: Arc<dyn Skill>,
    validator: Arc<Validator>,
}

/// The skills of this installation; immutable, shared, replaced as a whole when something of it changes.
pub struct Catalogue {
    entries: BTreeMap<SkillName, Entry>,
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.entries.keys()).finish()
    }
}

impl Catalogue {
    /// Makes the catalogue of these skills and compiles their schemas.
    pub fn new(skills: impl IntoIterator<Item = Arc<dyn Skill>>) -> Result<Self, CatalogueError> {
        let mut entries = BTreeMap::new();
        for skill in skills {
            let (name, entry) = entry(skill)?;
            if entries.contains_key(&name) {
                return Err(CatalogueError::Taken { name });
            }
            entries.insert(name, entry);
        }
        Ok(Self { entries })
    }

    /// A catalogue without skills.
    pub fn empty() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }

    /// The same catalogue with the skills of one family (all names that begin with `prefix`) replaced. A skill that
    /// makes no entry is left out and told to `refused`; the others count.
    #[must_use]
    pub fn with_family(
        &self,
        prefix: &str,
        skills: impl IntoIterator<Item = Arc<dyn Skill>>,
        mut refused: impl FnMut(CatalogueError),
    ) -> Self {
        let others = self
            .entries
            .iter()
            .filter(|(name, _)| !name.as_str().starts_with(prefix));
        let mut entries: BTreeMap<SkillName, Entry> =
            others.map(|(name, entry)| (name.clone(), entry.clone())).collect();
        for skill in skills {
            match entry(skill) {
                Ok((name, _)) if !name.as_str().starts_with(prefix) || entries.contains_key(&name) => {
                    refused(CatalogueError::Taken { name });
                }
                Ok((name, entry)) => drop(entries.insert(name, entry)),
                Err(error) => refused(error),
            }
        }
        Self { entries }
    }

    /// The skill of this name.
    pub fn get(&self, name: &SkillName) -> Option<Arc<dyn Skill>> {
        self.entries.get(name).map(|entry| Arc::clone(&entry.skill))
    }

    /// The manifest of this name.
    pub fn manifest(&self, name: &SkillName) -> Option<&SkillManifest> {
        self.entries.get(name).map(|entry| entry.skill.manifest())
    }

    /// What a call of this skill with these arguments does to the world.
    pub fn class_of(&self, name: &SkillName, arguments: &Value) -> Option<EffectClass> {
        self.entries.get(name).map(|entry| entry.skill.class_of(arguments))
    }

    /// All manifests, by name.
    pub fn manifests(&self) -> impl Iterator<Item = &SkillManifest> {
        self.entries.values().map(|entry| entry.skill.manifest())
    }

    /// The manifests of these names in the order asked; names that no skill has are left out.
    pub fn manifests_for(&self, names: &[SkillName]) -> Arc<[SkillManifest]> {
        names.iter().filter_map(|name| self.manifest(name).cloned()).collect()
    }

    /// The same names, with each family (a name that ends with a dot) replaced by its members of now.
    pub fn expand(&self, names: &[SkillName]) -> Vec<SkillName> {
        let expanded = names.iter().flat_map(|name| {
            let family = name.as_str().ends_with('.').then_some(name.as_str());
            let members = self
                .entries
                .keys()
                .filter(move |known| family.is_some_and(|family| known.as_str().starts_with(family)));
            let alone = family.is_none().then_some(name);
            members.chain(alone).cloned()
        });
        expanded.collect()
    }

    /// Judges arguments as they came from a model; what passes may be handed to the skill.
    ///
    /// **Limits**: 1 MiB, 64 levels, 16 findings.
    pub fn validate(&self, name: &SkillName, arguments: &Arguments) -> Result<Value, Vec<Finding>> {
        let Some(entry) = self.entries.get(name) else {
            let known: Vec<&str> = self.entries.keys().map(SkillName::as_str).collect();
            let message = format!("there is no skill `{name}`; there are: {}", known.join(", "));
            return Err(vec![Finding::new("", message)]);
        };
        let value = match arguments {
            Arguments::Object(value) => value,
            Arguments::Malformed { reason, preview } => {
                let message = format!("the arguments are not a JSON object: {reason}; they begin with: {preview}");
                return Err(vec![Finding::new("", message)]);
            }
        };
        if !value.is_object() {
            return Err(vec![Finding::new("", "the arguments must be a JSON object")]);
        }
        let depth = json::depth(value);
        if depth > JSON_DEPTH_MAX {
            let message = format!("the arguments nest {depth} levels deep, at most {JSON_DEPTH_MAX} are allowed");
            return Err(vec![Finding::new("", message)]);
        }
        let bytes = json::canonical(value).len();
        if bytes > ARGUMENTS_BYTES_MAX {
            let message = format!("the arguments have {bytes} bytes, at most {ARGUMENTS_BYTES_MAX} are allowed");
            return Err(vec![Finding::new("", message)]);
        }
        let findings: Vec<Finding> = entry
            .validator
            .iter_errors(value)
            .take(FINDINGS_MAX)
            .map(|error| {
                let message = crate::domain::text::cut(&error.to_string(), 400);
                Finding::new(error.instance_path().to_string(), message)
            })
            .collect();
        if findings.is_empty() {
            Ok((**value).clone())
        } else {
            Err(findings)
        }
    }
}

fn entry(skill: Arc<dyn Skill>) -> Result<(SkillName, Entry), CatalogueError> {
    let manifest = skill.manifest();
    let name = manifest.name.clone();
    let chars = manifest.description.chars().count();
    if chars > DESCRIPTION_CHARS_MAX {
        return Err(CatalogueError::Description { name, chars });
    }
    let validator = Arc::new(compile(manifest)?);
    Ok((name, Entry { skill, validator }))
}

fn compile(manifest: &SkillManifest) -> Result<Validator, CatalogueError> {
    let refuse = |reason: String| CatalogueError::Schema {
        name: manifest.name.clone(),
        reason,
    };
    if manifest.input_schema.get("type").and_then(Value::as_str) != Some("object") {
        return Err(refuse("its `type` must be \"object\"".to_owned()));
    }
    jsonschema::draft202012::new(&manifest.input_schema).map_err(|error| refuse(error.to_string()))
}
