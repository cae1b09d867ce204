//! Files that land on hosts, from `templates/`, embedded. Handlebars in strict mode: a name without a value is an
//! error, never an empty string; nothing is escaped for HTML.

use std::sync::LazyLock;

use handlebars::{Context, Handlebars, Helper, HelperResult, Output, RenderContext, RenderErrorReason};
use serde::Serialize;

static TEMPLATES: LazyLock<Handlebars<'static>> = LazyLock::new(|| {
    let mut templates = Handlebars::new();
    templates.set_strict_mode(true);
    templates.register_escape_fn(handlebars::no_escape);
    templates.register_helper("quote", Box::new(quote));
    let embedded = [
        ("containerd.toml", include_str!("../../../templates/containerd.toml.hbs")),
        ("hosts.toml", include_str!("../../../templates/hosts.toml.hbs")),
        ("containerd-proxy.conf", include_str!("../../../templates/containerd-proxy.conf.hbs")),
        ("apt-proxy.conf", include_str!("../../../templates/apt-proxy.conf.hbs")),
        ("etcd.env", include_str!("../../../templates/etcd.env.hbs")),
        ("etcd-join.env", include_str!("../../../templates/etcd-join.env.hbs")),
        ("etcd-package.conf", include_str!("../../../templates/etcd-package.conf.hbs")),
        ("naru-etcd.service", include_str!("../../../templates/naru-etcd.service.hbs")),
        ("naru-node.service", include_str!("../../../templates/naru-node.service.hbs")),
        ("naru-control-plane.service", include_str!("../../../templates/naru-control-plane.service.hbs")),
        ("node.yaml", include_str!("../../../templates/node.yaml.hbs")),
        ("control-plane.yaml", include_str!("../../../templates/control-plane.yaml.hbs")),
    ];
    for (name, text) in embedded {
        templates.register_template_string(name, text).expect("embedded templates are parsed by a test");
    }
    templates
});

/// Renders an embedded template.
pub(crate) fn render(name: &str, values: &impl Serialize) -> String {
    TEMPLATES.render(name, values).expect("embedded templates ask only for values that their callers give")
}

/// A YAML scalar that stays text whatever it looks like: JSON's notation of a string.
fn quote(
    helper: &Helper<'_>,
    _: &Handlebars<'_>,
    _: &Context,
    _: &mut RenderContext<'_, '_>,
    output: &mut dyn Output,
) -> HelperResult {
    let value = helper.param(0).ok_or(RenderErrorReason::ParamNotFoundForIndex("quote", 0))?.value();
    // Anything but text, such as the null of a name without a value, is a mistake of the template.
    let text = value.as_str().ok_or(RenderErrorReason::InvalidParamType("quote takes text"))?;
    output.write(&serde_json::Value::String(text.to_owned()).to_string())?;
    Ok(())
}
