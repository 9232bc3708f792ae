package apps

import (
	appsv1 "k8s.io/api/apps/v1"

	"clipper/api"
	"clipper/catalogue"
)

// controllerRevisions describes ControllerRevision.
func controllerRevisions() *catalogue.Resource {
	return catalogue.Describe[appsv1.ControllerRevision, appsv1.ControllerRevisionList](catalogue.Kind[*appsv1.ControllerRevision]{
		Resource: api.ControllerRevisions.Resource,
	})
}
