package core

import (
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// serviceAccounts describes ServiceAccount.
func serviceAccounts() *catalogue.Resource {
	return catalogue.Describe[corev1.ServiceAccount, corev1.ServiceAccountList](catalogue.Kind[*corev1.ServiceAccount]{
		Metadata:      catalogue.ChangesThenWhole,
		Resource:      api.ServiceAccounts.Resource,
		Warnings:      serviceAccountWarnings,
		PrepareCreate: keepSecretNames,
		PrepareUpdate: func(s, _ *corev1.ServiceAccount) { keepSecretNames(s) },
		Columns:       serviceAccountColumns,
		Row:           serviceAccountRow,
		ShortNames:    []string{"sa"},
		Subresources: []catalogue.Subresource{{
			Name: "token", Group: "authentication.k8s.io", Version: "v1", Kind: "TokenRequest", Verbs: []string{"create"},
			New:      func() runtime.Object { return new(authenticationv1.TokenRequest) },
			Default:  defaultLife,
			Answered: true,
		}},
	})
}

// defaultLife has a token that is asked for last an hour.
func defaultLife(body runtime.Object) {
	if tr, ok := body.(*authenticationv1.TokenRequest); ok {
		rule.SetIfNil(&tr.Spec.ExpirationSeconds, 60*60)
	}
}

var serviceAccountColumns = []table.Column{
	table.Name,
	table.Age,
}

func serviceAccountRow(s *corev1.ServiceAccount, now time.Time) []any {
	return []any{s.Name, table.Since(s.CreationTimestamp, now)}
}

// keepSecretNames drops all else that references to secrets may say.
func keepSecretNames(s *corev1.ServiceAccount) {
	for i := range s.Secrets {
		s.Secrets[i] = corev1.ObjectReference{Name: s.Secrets[i].Name}
	}
}

func serviceAccountWarnings(s, old *corev1.ServiceAccount) []string {
	const key = "kubernetes.io/enforce-mountable-secrets"
	if old != nil {
		if _, was := old.Annotations[key]; was {
			return nil
		}
	}
	if _, is := s.Annotations[key]; is {
		return []string{"metadata.annotations[" + key + "]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"}
	}
	return nil
}
