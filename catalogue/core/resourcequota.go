package core

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"clipper/api"
	"clipper/catalogue"
	"clipper/catalogue/core/podspec"
	"clipper/catalogue/table"
)

// resourceQuotas describes ResourceQuota.
func resourceQuotas() *catalogue.Resource {
	return catalogue.Describe[corev1.ResourceQuota, corev1.ResourceQuotaList](catalogue.Kind[*corev1.ResourceQuota]{
		Resource:       api.ResourceQuotas.Resource,
		ValidateCreate: validateResourceQuota,
		ValidateUpdate: validateResourceQuotaUpdate,
		ValidateStatus: validateResourceQuotaStatus,
		Warnings:       quotaWarnings,
		Columns:        resourceQuotaColumns,
		Row:            resourceQuotaRow,
		Default:        defaultResourceQuota,
		ShortNames:     []string{"quota"},
		Spec:           catalogue.PartOf(func(q *corev1.ResourceQuota) *corev1.ResourceQuotaSpec { return &q.Spec }),
		Status:         catalogue.PartOf(func(q *corev1.ResourceQuota) *corev1.ResourceQuotaStatus { return &q.Status }),
	})
}

func defaultResourceQuota(q *corev1.ResourceQuota) {
	podspec.RoundUp(q.Spec.Hard)
	podspec.RoundUp(q.Status.Hard)
	podspec.RoundUp(q.Status.Used)
}

var resourceQuotaColumns = []table.Column{
	table.Name,
	table.String("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
	table.String("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
	table.Age,
}

func resourceQuotaRow(q *corev1.ResourceQuota, now time.Time) []any {
	var requests, limits []string
	for _, name := range slices.Sorted(maps.Keys(q.Status.Hard)) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		text := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(string(name), "limits.") {
			limits = append(limits, text)
		} else {
			requests = append(requests, text)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), table.Since(q.CreationTimestamp, now)}
}
