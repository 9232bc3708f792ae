// Package ingressclass gives an Ingress without a class the default one.
package ingressclass

import (
	"context"

	networkingv1 "k8s.io/api/networking/v1"

	"clipper/api"
	"clipper/apiserver/admission"
)

const deprecatedAnnotation = "kubernetes.io/ingress.class"

// A Plugin is the admission plug-in DefaultIngressClass.
type Plugin struct {
	classes api.TypedView[*networkingv1.IngressClass]
}

// New returns the plug-in over the ingress classes that c sees.
func New(c api.Client) *Plugin { return &Plugin{api.IngressClasses.View(c)} }

// Admit sets the class of new ingresses that name none.
func (p *Plugin) Admit(_ context.Context, a *admission.Attributes) error {
	if a.Operation != admission.Create || !a.Is("networking.k8s.io", "ingresses") {
		return nil
	}
	ingress, ok := a.Object.(*networkingv1.Ingress)
	if !ok || ingress.Spec.IngressClassName != nil {
		return nil
	}
	if _, ok := ingress.Annotations[deprecatedAnnotation]; ok {
		return nil
	}
	var found *networkingv1.IngressClass
	for _, class := range p.classes.List("") {
		if class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] != "true" {
			continue
		}
		// The newest wins; among equals the first by name, which is how the view lists them.
		if found == nil || found.CreationTimestamp.Before(&class.CreationTimestamp) {
			found = class
		}
	}
	if found != nil {
		name := found.Name
		ingress.Spec.IngressClassName = &name
	}
	return nil
}
