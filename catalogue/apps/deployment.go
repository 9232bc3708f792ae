package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"clipper/api"
	"clipper/catalogue"
)

// deployments describes Deployment.
func deployments() *catalogue.Resource {
	return catalogue.Describe[appsv1.Deployment, appsv1.DeploymentList](catalogue.Kind[*appsv1.Deployment]{
		Resource:   api.Deployments.Resource,
		ShortNames: []string{"deploy"},
		Categories: []string{"all"},
		Spec:       catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentSpec { return &o.Spec }),
		Status:     catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentStatus { return &o.Status }),
		Generation: catalogue.PartOf(func(o *appsv1.Deployment) *appsv1.DeploymentSpec { return &o.Spec }),
		Scale: catalogue.ScaleOf(
			func(o *appsv1.Deployment) **int32 { return &o.Spec.Replicas },
			func(o *appsv1.Deployment) int32 { return o.Status.Replicas },
			func(o *appsv1.Deployment) string { return catalogue.SelectorText(o.Spec.Selector) },
		),
	})
}
