// Package externalips keeps services from claiming addresses: whoever may write one could take over the traffic of any.
package externalips

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"clipper/apiserver/admission"
)

// A Plugin is the admission plug-in DenyServiceExternalIPs.
type Plugin struct{}

var errDenied = errors.New("Use of external IPs is denied by admission control")

// Validate refuses external IPs that the service has not had.
func (Plugin) Validate(_ context.Context, a *admission.Attributes) error {
	if !a.Is("", "services") || a.Operation != admission.Create && a.Operation != admission.Update {
		return nil
	}
	var had []string
	if old, ok := a.Old.(*corev1.Service); ok {
		had = old.Spec.ExternalIPs
	}
	for _, ip := range a.Object.(*corev1.Service).Spec.ExternalIPs {
		if !slices.Contains(had, ip) {
			return a.Forbidden(errDenied)
		}
	}
	return nil
}
