//! Functions that can be called.

use serde_json::{Map, Value, json};

/// A function that can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tool {
    GetWeather,
    GetTime,
    ConvertCurrency,
    SetAlarm,
    SetTimer,
    SendMessage,
    SwitchLight,
    PlayMusic,
    Translate,
    AddToList,
    BookTable,
    FindFlight,
}

/// A parameter of a function.
pub(super) struct Parameter {
    pub name: &'static str,
    /// The JSON type.
    pub kind: &'static str,
    pub required: bool,
}

impl Tool {
    pub(super) const ALL: [Self; 12] = [
        Self::GetWeather,
        Self::GetTime,
        Self::ConvertCurrency,
        Self::SetAlarm,
        Self::SetTimer,
        Self::SendMessage,
        Self::SwitchLight,
        Self::PlayMusic,
        Self::Translate,
        Self::AddToList,
        Self::BookTable,
        Self::FindFlight,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::GetWeather => "get_weather",
            Self::GetTime => "get_time",
            Self::ConvertCurrency => "convert_currency",
            Self::SetAlarm => "set_alarm",
            Self::SetTimer => "set_timer",
            Self::SendMessage => "send_message",
            Self::SwitchLight => "switch_light",
            Self::PlayMusic => "play_music",
            Self::Translate => "translate",
            Self::AddToList => "add_to_list",
            Self::BookTable => "book_table",
            Self::FindFlight => "find_flight",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::GetWeather => "weather forecast for a city",
            Self::GetTime => "time of day in a city",
            Self::ConvertCurrency => "an amount of money in another currency",
            Self::SetAlarm => "alarm at a time of day",
            Self::SetTimer => "alarm after some minutes",
            Self::SendMessage => "text message to a person",
            Self::SwitchLight => "light in a room on or off",
            Self::PlayMusic => "music by an artist",
            Self::Translate => "text in another language",
            Self::AddToList => "goods on the shopping list",
            Self::BookTable => "table at a restaurant",
            Self::FindFlight => "flights between two cities",
        }
    }

    pub(super) fn parameters(self) -> Vec<Parameter> {
        let required = |name, kind| Parameter {
            name,
            kind,
            required: true,
        };
        let optional = |name, kind| Parameter {
            name,
            kind,
            required: false,
        };
        match self {
            Self::GetWeather => vec![required("city", "string"), optional("day", "string")],
            Self::GetTime => vec![required("city", "string")],
            Self::ConvertCurrency => vec![
                required("amount", "integer"),
                required("from", "string"),
                required("to", "string"),
            ],
            Self::SetAlarm => vec![
                required("hour", "integer"),
                required("minute", "integer"),
                optional("day", "string"),
            ],
            Self::SetTimer => vec![required("minutes", "integer"), optional("label", "string")],
            Self::SendMessage => vec![required("to", "string"), required("text", "string")],
            Self::SwitchLight => vec![
                required("room", "string"),
                required("on", "boolean"),
                optional("color", "string"),
            ],
            Self::PlayMusic => vec![required("artist", "string"), optional("minutes", "integer")],
            Self::Translate => vec![required("text", "string"), required("to", "string")],
            Self::AddToList => vec![required("item", "string"), required("count", "integer")],
            Self::BookTable => vec![
                required("restaurant", "string"),
                required("people", "integer"),
                required("hour", "integer"),
                optional("day", "string"),
            ],
            Self::FindFlight => vec![
                required("from", "string"),
                required("to", "string"),
                required("day", "string"),
                optional("max_price", "integer"),
            ],
        }
    }

    /// `set_timer(minutes: integer, label?: string): alarm after some minutes`.
    pub(super) fn signature(self) -> String {
        let spelled = |parameter: &Parameter| {
            let mark = if parameter.required { "" } else { "?" };
            format!("{}{mark}: {}", parameter.name, parameter.kind)
        };
        let parameters: Vec<String> = self.parameters().iter().map(spelled).collect();
        format!(
            "{}({}): {}",
            self.name(),
            parameters.join(", "),
            self.description()
        )
    }

    /// The function as chat templates and endpoints take it.
    pub(super) fn definition(self) -> Value {
        let parameters = self.parameters();
        let schema = |p: &Parameter| (p.name.to_string(), json!({ "type": p.kind }));
        let properties: Map<String, Value> = parameters.iter().map(schema).collect();
        let required = parameters.iter().filter(|parameter| parameter.required);
        let required: Vec<&str> = required.map(|parameter| parameter.name).collect();
        json!({
            "type": "function",
            "function": {
                "name": self.name(),
                "description": self.description(),
                "parameters": {
                    "type": "object", "properties": properties, "required": required,
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_and_definitions_name_the_parameters() {
        assert_eq!(
            Tool::SetTimer.signature(),
            "set_timer(minutes: integer, label?: string): alarm after some minutes"
        );
        let function = &Tool::SetTimer.definition()["function"];
        assert_eq!(function["parameters"]["required"], json!(["minutes"]));
        assert_eq!(
            function["parameters"]["properties"]["label"]["type"],
            "string"
        );
    }
}
