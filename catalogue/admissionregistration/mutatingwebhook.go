package admissionregistration

import (
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// mutatingWebhooks describes MutatingWebhookConfiguration.
func mutatingWebhooks() *catalogue.Resource {
	return catalogue.Describe[admissionv1.MutatingWebhookConfiguration, admissionv1.MutatingWebhookConfigurationList](catalogue.Kind[*admissionv1.MutatingWebhookConfiguration]{
		Resource:       api.Resource{Group: "admissionregistration.k8s.io", Version: "v1", Name: "mutatingwebhookconfigurations", Kind: "MutatingWebhookConfiguration"},
		AnyFinalizers:  true,
		ValidateCreate: validateMutatingHooks,
		Metadata:       catalogue.OnlyWhole,
		ValidateUpdate: validateMutatingHooksUpdate,
		Warnings:       reservedName[*admissionv1.MutatingWebhookConfiguration],
		Columns:        mutatingWebhooksColumns,
		Row:            mutatingWebhooksRow,
		Default:        defaultMutatingWebhooks,
		Categories:     []string{"api-extensions"},
		NeedsRevision:  true,
		Generation:     catalogue.PartOf(func(o *admissionv1.MutatingWebhookConfiguration) *[]admissionv1.MutatingWebhook { return &o.Webhooks }),
	})
}

func defaultMutatingWebhooks(c *admissionv1.MutatingWebhookConfiguration) {
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		defaultMatch(&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector)
		defaultCall(&w.ClientConfig, w.Rules, &w.TimeoutSeconds)
		rule.SetIfNil(&w.ReinvocationPolicy, admissionv1.NeverReinvocationPolicy)
	}
}

var mutatingWebhooksColumns = []table.Column{
	table.Name,
	table.Integer("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration"),
	table.Age,
}

func mutatingWebhooksRow(c *admissionv1.MutatingWebhookConfiguration, now time.Time) []any {
	return []any{c.Name, int64(len(c.Webhooks)), table.Since(c.CreationTimestamp, now)}
}
