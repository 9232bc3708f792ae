package admissionregistration

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/table"
)

// validatingWebhooks describes ValidatingWebhookConfiguration.
func validatingWebhooks() *catalogue.Resource {
	return catalogue.Describe[admissionv1.ValidatingWebhookConfiguration, admissionv1.ValidatingWebhookConfigurationList](catalogue.Kind[*admissionv1.ValidatingWebhookConfiguration]{
		Resource:       api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "validatingwebhookconfigurations", Kind: "ValidatingWebhookConfiguration"},
		AnyFinalizers:  true,
		ValidateCreate: validateValidatingHooks,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: validateValidatingHooksUpdate,
		Warnings:       reservedName[*admissionv1.ValidatingWebhookConfiguration],
		Columns:        validatingWebhooksColumns,
		Row:            validatingWebhooksRow,
		Default:        defaultValidatingWebhooks,
		Categories:     []string{"api-extensions"},
		NeedsRevision:  true,
		Generation: catalogue.PartOf(func(o *admissionv1.ValidatingWebhookConfiguration) *[]admissionv1.ValidatingWebhook {
			return &o.Webhooks
		}),
	})
}

func defaultValidatingWebhooks(c *admissionv1.ValidatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		defaultMatch(&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector)
		defaultCall(&w.ClientConfig, w.Rules, &w.TimeoutSeconds)
	}
}

var validatingWebhooksColumns = []table.Column{
	table.Name,
	table.Integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
	table.Age,
}

func validatingWebhooksRow(c *admissionv1.ValidatingWebhookConfiguration, now time.Time) []any {
	return []any{c.Name, int64(len(c.Webhooks)), table.Since(c.CreationTimestamp, now)}
}
