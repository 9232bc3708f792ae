package networking

import (
	"time"

	networkingv1 "k8s.io/api/networking/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// ingressClasses describes IngressClass.
func ingressClasses() *catalogue.Resource {
	return catalogue.Describe[networkingv1.IngressClass, networkingv1.IngressClassList](catalogue.Kind[*networkingv1.IngressClass]{
		Resource:       api.Resource{Group: "networking.k8s.io", Version: "v1", Name: "ingressclasses", Kind: "IngressClass"},
		ValidateCreate: validateIngressClass,
		Metadata:       catalogue.ChangesThenWhole,
		ValidateUpdate: validateIngressClassUpdate,
		Columns:        ingressClassColumns,
		Row:            ingressClassRow,
		Default:        defaultIngressClass,
		Generation:     catalogue.PartOf(func(o *networkingv1.IngressClass) *networkingv1.IngressClassSpec { return &o.Spec }),
	})
}

func defaultIngressClass(c *networkingv1.IngressClass) {
	if c.Spec.Parameters != nil {
		rule.SetIfNil(&c.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}

var ingressClassColumns = []table.Column{
	table.Name,
	table.String("Controller", "Controller that is responsible for handling this class"),
	table.String("Parameters", "A reference to a resource with additional parameters"),
	table.Age,
}

func ingressClassRow(c *networkingv1.IngressClass, now time.Time) []any {
	name := c.Name
	if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
		name += " (default)"
	}
	parameters := table.None
	if p := c.Spec.Parameters; p != nil {
		parameters = p.Kind
		if p.APIGroup != nil {
			parameters += "." + *p.APIGroup
		}
		parameters += "/" + p.Name
	}
	return []any{name, c.Spec.Controller, parameters, table.Since(c.CreationTimestamp, now)}
}
