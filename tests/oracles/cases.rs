//! Random flag definitions and contexts, the same for the same seed.

use serde_json::{Map, Value, json};

/// One case: a flag file, the key of its flag, the flag's type, and a context. `concat`: whether only a text is bucketed by.
pub fn case(seed: u64, number: u64, concat: bool) -> Value {
    let mut dice =
        Dice { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ number.wrapping_mul(0xD134_2543_DE82_EF95), concat };
    dice.below(2);
    dice.flag_file()
}

const KEYS: [&str; 5] = ["checkout", "new-search", "a.b", "é", "x_1"];
const NAMES: [&str; 9] = ["plan", "age", "email", "version", "tags", "user", "beta", "score", "nothing"];
const PATHS: [&str; 9] = [
    "user.plan",
    "user.age",
    "user.tags.0",
    "tags.1",
    "tags.length",
    "user",
    "targetingKey",
    "$flagd.flagKey",
    "user.none.deep",
];
const TEXTS: [&str; 14] =
    ["", "pro", "free", "on", "off", "true", "1", "12", "1.5", " 7 ", "ada@example.com", "naïve café", "日本", "ab😀"];
const VERSIONS: [&str; 14] = [
    "1.2.3",
    "1.2",
    "2",
    "v1.2.3",
    "V2.0.0",
    "1.2.3-beta.1",
    "1.2.3-beta.2",
    "1.2.3+build",
    "1.2.3-rc.1+b",
    "2.0.0.0",
    "abc",
    "",
    "01.2.3",
    "1.10.0",
];

struct Dice {
    state: u64,
    concat: bool,
}

impl Dice {
    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        let place = self.below(all.len() as u64);
        all[usize::try_from(place).unwrap_or(0)]
    }

    fn flag_file(&mut self) -> Value {
        let (key, kind) = (self.pick(&KEYS), self.pick(&["boolean", "string", "integer", "float", "object"]));
        let variants = match kind {
            "boolean" => json!({ "on": true, "off": false, "true": true, "false": false }),
            "string" => json!({ "on": "an", "off": "", "pro": "😀", "1": "one", "1.5": "x", "true": "yes" }),
            "integer" => json!({ "on": 1, "off": 0, "12": -7, "2": 2 }),
            "float" => json!({ "on": 1.5, "off": 0.25, "1": 2.0, "false": 1e3 }),
            _ => json!({ "on": { "a": [1, null, "x"] }, "off": {}, "pro": { "b": { "c": 1.5 } } }),
        };
        let mut flag = json!({ "state": "ENABLED", "variants": variants });
        if self.once_in(25) {
            flag["state"] = json!("DISABLED");
        }
        match self.below(12) {
            0 => {}
            1 => flag["defaultVariant"] = Value::Null,
            2 => flag["defaultVariant"] = json!(""),
            3 => flag["defaultVariant"] = json!("no-such"),
            _ => flag["defaultVariant"] = json!("off"),
        }
        match self.below(20) {
            0 => {}
            1 => flag["targeting"] = json!({}),
            _ => flag["targeting"] = self.targeting(),
        }
        let shared = json!({ "paying": { "in": [{ "var": "plan" }, ["pro", "team"]] }, "who": { "var": "email" }, "share": { "fractional": [["on", 30], ["off", 70]] } });
        json!({ "flags": { "$evaluators": shared, "flags": { key: flag } }, "key": key, "type": kind, "context": self.context() })
    }

    fn context(&mut self) -> Value {
        let mut fields = Map::new();
        match self.below(10) {
            0 => {}
            1 => drop(fields.insert("targetingKey".into(), json!(""))),
            _ => drop(fields.insert("targetingKey".into(), json!(format!("user-{}", self.below(5000))))),
        }
        for name in NAMES {
            if !self.once_in(3) && name != "nothing" {
                let value = match name {
                    "plan" if !self.once_in(4) => json!(self.pick(&["pro", "free", "team"])),
                    "email" if !self.once_in(4) => json!(self.pick(&["ada@example.com", "bob@x.org", ""])),
                    "version" if !self.once_in(5) => json!(self.pick(&VERSIONS)),
                    "tags" if !self.once_in(5) => self.list(),
                    "user" if !self.once_in(5) => {
                        json!({ "plan": self.pick(&["pro", "free"]), "age": self.number(), "tags": self.list() })
                    }
                    "age" | "score" if !self.once_in(4) => self.number(),
                    _ => self.data(),
                };
                fields.insert(name.into(), value);
            }
        }
        Value::Object(fields)
    }

    fn number(&mut self) -> Value {
        match self.below(6) {
            0 => json!(self.pick(&[0.5, 1.5, -2.25, 1.0, 100.0, 0.1, 3.0])),
            1 => json!(-i64::try_from(self.below(50)).unwrap_or(0)),
            _ => json!(self.below(60)),
        }
    }

    fn list(&mut self) -> Value {
        let count = self.below(4);
        (0..count)
            .map(|_| if self.once_in(2) { json!(self.pick(&["pro", "a", "b", "1"])) } else { self.number() })
            .collect()
    }

    /// Data of any type.
    fn data(&mut self) -> Value {
        match self.below(12) {
            0 => Value::Null,
            1 => json!(true),
            2 => json!(false),
            3 | 4 => self.number(),
            5 => self.list(),
            6 => json!({}),
            7 => json!({ "a": 1 }),
            _ => json!(self.pick(&TEXTS)),
        }
    }

    fn var(&mut self) -> Value {
        match self.below(12) {
            0 => {
                let (path, other) = (self.pick(&NAMES), self.data_plain());
                json!({ "var": [path, other] })
            }
            1..=3 => json!({ "var": self.pick(&PATHS) }),
            4 => json!({ "var": [self.pick(&PATHS)] }),
            _ => json!({ "var": self.pick(&NAMES) }),
        }
    }

    /// A constant that is no object, which would be an operation.
    fn data_plain(&mut self) -> Value {
        loop {
            let data = self.data();
            if !data.is_object() {
                return data;
            }
        }
    }

    fn targeting(&mut self) -> Value {
        match self.below(12) {
            0 => self.expression(3),
            1 | 2 => self.fractional(2),
            3 => json!({ "$ref": "share" }),
            4 => self.condition(2),
            5 => self.arithmetic(2),
            6 => {
                let rule = self.expression(2);
                json!({ "no_such": [rule] })
            }
            _ => self.choice(3),
        }
    }

    fn variant(&mut self, depth: u64) -> Value {
        match self.below(14) {
            0 if depth > 0 => self.choice(depth - 1),
            1 | 2 if depth > 0 => self.fractional(depth - 1),
            3 => Value::Null,
            4 => json!("no-such"),
            5 => self.data_plain(),
            6 => self.var(),
            _ => json!(self.pick(&["on", "off", "pro", "1", "true"])),
        }
    }

    fn choice(&mut self, depth: u64) -> Value {
        let mut parts = Vec::new();
        for _ in 0..=self.below(2) {
            parts.push(self.condition(depth));
            parts.push(self.variant(depth));
        }
        if self.once_in(2) {
            parts.push(self.variant(depth));
        }
        json!({ self.pick(&["if", "if", "if", "?:"]): parts })
    }

    fn fractional(&mut self, depth: u64) -> Value {
        let mut parts = Vec::new();
        match self.below(8) {
            0 => parts.push(self.var()),
            1 => parts.push(json!({ "cat": [{ "var": "$flagd.flagKey" }, { "var": "email" }] })),
            2 => parts.push(json!({ "var": "email" })),
            3 if !self.concat => parts.push(self.data_plain()),
            _ => {}
        }
        for _ in 0..=self.below(3) {
            let variant = self.variant(depth);
            let part = match self.below(14) {
                0 => json!([variant]),
                1 => json!([variant, self.data_plain()]),
                2 => {
                    let weight = self.arithmetic(1);
                    json!([variant, weight])
                }
                3 => {
                    let (held, a, b) = (self.condition(1), self.number(), self.number());
                    json!([variant, { "if": [held, a, b] }])
                }
                4 => {
                    let weight = self.var();
                    json!([variant, weight])
                }
                5 => json!([variant, self.pick(&[i64::from(i32::MAX), 1 << 30, -5, 0])]),
                6 if self.once_in(4) => json!([variant, 1, 2]),
                7 if self.once_in(4) => json!([]),
                _ => json!([variant, self.below(100)]),
            };
            parts.push(part);
        }
        json!({ "fractional": parts })
    }

    fn condition(&mut self, depth: u64) -> Value {
        if depth == 0 {
            return self.leaf();
        }
        let deeper = depth - 1;
        match self.below(16) {
            0 => {
                let (a, b) = (self.condition(deeper), self.condition(deeper));
                json!({ "and": [a, b] })
            }
            1 => {
                let (a, b) = (self.condition(deeper), self.condition(deeper));
                json!({ "or": [a, b] })
            }
            2 => {
                let a = self.condition(deeper);
                json!({ self.pick(&["!", "!!"]): [a] })
            }
            3 | 4 => {
                let (a, b) = (self.var(), self.operand(deeper));
                json!({ self.pick(&["==", "!=", "===", "!=="]): [a, b] })
            }
            5 | 6 => {
                let (a, b) = (self.var(), self.operand(deeper));
                json!({ self.pick(&["<", "<=", ">", ">="]): [a, b] })
            }
            7 => {
                let (a, b, c) = (self.number(), self.var(), self.number());
                json!({ self.pick(&["<", "<="]): [a, b, c] })
            }
            8 => {
                let a = self.operand(deeper);
                let b = if self.once_in(2) { self.list() } else { self.var() };
                json!({ "in": [a, b] })
            }
            9 | 10 => {
                let (a, b) = (self.var(), self.operand(0));
                json!({ self.pick(&["starts_with", "ends_with"]): [a, b] })
            }
            11 | 12 => {
                let (a, b) = (
                    if self.once_in(8) { self.var() } else { json!({ "var": "version" }) },
                    if self.once_in(8) { self.data_plain() } else { json!(self.pick(&VERSIONS)) },
                );
                json!({ "sem_ver": [a, self.pick(&["=", "!=", "<", "<=", ">", ">=", "^", "~", "==", "<>"]), b] })
            }
            // What does not exist breaks a whole flag in the first generation, save in a part that its evaluator never looks at.
            13 => {
                let other = if self.concat { "who" } else { "nowhere" };
                json!({ "$ref": self.pick(&["paying", "who", "paying", other]) })
            }
            14 => {
                let inner = match self.below(3) {
                    0 => json!({ "==": [{ "var": "" }, "pro"] }),
                    1 => json!({ ">": [{ "var": "" }, 10] }),
                    _ => json!({ "var": "" }),
                };
                json!({ self.pick(&["all", "some", "none"]): [{ "var": "tags" }, inner] })
            }
            _ => self.expression(deeper),
        }
    }

    fn leaf(&mut self) -> Value {
        if self.once_in(3) { self.data_plain() } else { self.var() }
    }

    fn operand(&mut self, depth: u64) -> Value {
        match self.below(4) {
            0 if depth > 0 => self.expression(depth - 1),
            0 | 1 => self.var(),
            _ => self.data_plain(),
        }
    }

    fn arithmetic(&mut self, depth: u64) -> Value {
        let deeper = depth.saturating_sub(1);
        let a = if depth > 0 && self.once_in(4) {
            self.arithmetic(deeper)
        } else {
            json!({ "var": self.pick(&["age", "score", "age", "user.age", "plan"]) })
        };
        let b = if self.once_in(3) { self.var() } else { self.number() };
        let word = self.pick(&["+", "-", "*", "/", "%", "min", "max"]);
        if self.once_in(8) { json!({ word: [a] }) } else { json!({ word: [a, b] }) }
    }

    fn expression(&mut self, depth: u64) -> Value {
        match self.below(12) {
            0 | 1 => self.arithmetic(depth),
            2 | 3 => {
                let (a, b) = (self.var(), self.leaf());
                json!({ "cat": [a, b] })
            }
            4 => {
                let (a, from) = (self.var(), i64::try_from(self.below(9)).unwrap_or(0) - 4);
                json!({ "substr": [a, from] })
            }
            5 => {
                let (a, from, to) = (self.var(), self.below(3), i64::try_from(self.below(9)).unwrap_or(0) - 4);
                json!({ "substr": [a, from, to] })
            }
            6 => {
                let (a, b) = (self.var(), self.leaf());
                json!({ "merge": [a, b] })
            }
            7 => json!({ "map": [{ "var": "tags" }, { self.pick(&["!!", "cat", "+"]): [{ "var": "" }] }] }),
            8 => json!({ "filter": [{ "var": "tags" }, { "!==": [{ "var": "" }, "pro"] }] }),
            9 => {
                json!({ "reduce": [{ "var": "tags" }, { self.pick(&["+", "cat", "max"]): [{ "var": "accumulator" }, { "var": "current" }] }, 0] })
            }
            10 => {
                if self.once_in(2) {
                    json!({ "missing": ["plan", "email", "user.plan"] })
                } else {
                    json!({ "missing_some": [self.below(3), ["plan", "nothing", "age"]] })
                }
            }
            _ => self.choice(depth.min(1)),
        }
    }
}
