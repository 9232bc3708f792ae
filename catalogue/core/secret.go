package core

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/rule"
	"clipper/catalogue/table"
)

// secrets describes Secret.
func secrets() *catalogue.Resource {
	return catalogue.Describe[corev1.Secret, corev1.SecretList](catalogue.Kind[*corev1.Secret]{
		Resource:      api.Secrets.Resource,
		PrepareUpdate: func(s, old *corev1.Secret) { rule.SetIfEmpty(&s.Type, old.Type) },
		Columns:       secretColumns,
		Row:           secretRow,
		Default:       defaultSecret,
		Fields: map[string]func(*corev1.Secret) string{
			"type": func(s *corev1.Secret) string { return string(s.Type) },
		},
	})
}

// defaultSecret also moves stringData, which is write-only, to where it is kept.
func defaultSecret(s *corev1.Secret) {
	rule.SetIfEmpty(&s.Type, corev1.SecretTypeOpaque)
	for key, value := range s.StringData {
		if s.Data == nil {
			s.Data = make(map[string][]byte, len(s.StringData))
		}
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

var secretColumns = []table.Column{
	table.Name,
	table.String("Type", table.Doc(corev1.Secret{}, "type")),
	table.String("Data", table.Doc(corev1.Secret{}, "data")),
	table.Age,
}

func secretRow(s *corev1.Secret, now time.Time) []any {
	return []any{s.Name, string(s.Type), int64(len(s.Data)), table.Since(s.CreationTimestamp, now)}
}
