package differential

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingwebhookconfiguration"
	"k8s.io/kubernetes/pkg/registry/apps/controllerrevision"
	"k8s.io/kubernetes/pkg/registry/apps/daemonset"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/apps/replicaset"
	"k8s.io/kubernetes/pkg/registry/apps/statefulset"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/cronjob"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/certificates/certificates"
	"k8s.io/kubernetes/pkg/registry/coordination/lease"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/endpoint"
	"k8s.io/kubernetes/pkg/registry/core/event"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/node"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolume"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/pod"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/replicationcontroller"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/core/secret"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/discovery/endpointslice"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/flowschema"
	"k8s.io/kubernetes/pkg/registry/flowcontrol/prioritylevelconfiguration"
	"k8s.io/kubernetes/pkg/registry/networking/ingress"
	"k8s.io/kubernetes/pkg/registry/networking/ingressclass"
	"k8s.io/kubernetes/pkg/registry/networking/ipaddress"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/networking/servicecidr"
	"k8s.io/kubernetes/pkg/registry/node/runtimeclass"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrole"
	"k8s.io/kubernetes/pkg/registry/rbac/clusterrolebinding"
	"k8s.io/kubernetes/pkg/registry/rbac/role"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"k8s.io/kubernetes/pkg/registry/resource/deviceclass"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaim"
	"k8s.io/kubernetes/pkg/registry/resource/resourceclaimtemplate"
	"k8s.io/kubernetes/pkg/registry/resource/resourceslice"
	"k8s.io/kubernetes/pkg/registry/scheduling/priorityclass"
	"k8s.io/kubernetes/pkg/registry/storage/csidriver"
	"k8s.io/kubernetes/pkg/registry/storage/csinode"
	"k8s.io/kubernetes/pkg/registry/storage/csistoragecapacity"
	"k8s.io/kubernetes/pkg/registry/storage/storageclass"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattachment"
	"k8s.io/kubernetes/pkg/registry/storage/volumeattributesclass"
)

// A strategy is upstream's for creating and updating a kind.
type strategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
}

// subresources are upstream's strategies for those subresources that show the kind itself, by name.
type subresources map[string]rest.RESTUpdateStrategy

func status(s rest.RESTUpdateStrategy) subresources { return subresources{"status": s} }

// strategies are all that upstream has for one kind.
type strategies struct {
	main strategy
	subs subresources
}

// update returns the strategy for updates of a subresource, or of the kind itself if sub is empty.
func (s strategies) update(sub string) rest.RESTUpdateStrategy {
	if sub == "" {
		return s.main
	}
	return s.subs[sub]
}

// everyone may do everything, and namespaces has the one that the objects are in: two strategies ask.
type everyone struct{}

func (everyone) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return authorizer.DecisionAllow, "", nil
}

var (
	namespaces = fake.NewClientset(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: namespaceName, Labels: map[string]string{"resource.kubernetes.io/admin-access": "true"},
	}}).CoreV1().Namespaces()
	claims = resourceclaim.NewStrategy(namespaces, everyone{})
)

// upstreams has upstream's strategies by the name of the resource and its group.
var upstreams = map[string]strategies{
	"mutatingwebhookconfigurations.admissionregistration.k8s.io":   {main: mutatingwebhookconfiguration.Strategy},
	"validatingwebhookconfigurations.admissionregistration.k8s.io": {main: validatingwebhookconfiguration.Strategy},
	"controllerrevisions.apps":                                     {main: controllerrevision.Strategy},
	"daemonsets.apps":                                              {daemonset.Strategy, status(daemonset.StatusStrategy)},
	"deployments.apps":                                             {deployment.Strategy, status(deployment.StatusStrategy)},
	"replicasets.apps":                                             {replicaset.Strategy, status(replicaset.StatusStrategy)},
	"statefulsets.apps":                                            {statefulset.Strategy, status(statefulset.StatusStrategy)},
	"horizontalpodautoscalers.autoscaling":                         {horizontalpodautoscaler.Strategy, status(horizontalpodautoscaler.StatusStrategy)},
	"cronjobs.batch":                                               {cronjob.Strategy, status(cronjob.StatusStrategy)},
	"jobs.batch":                                                   {job.Strategy, status(job.StatusStrategy)},
	"certificatesigningrequests.certificates.k8s.io":               {certificates.Strategy, subresources{"status": certificates.StatusStrategy, "approval": certificates.ApprovalStrategy}},
	"leases.coordination.k8s.io":                                   {main: lease.Strategy},
	"configmaps":                                                   {main: configmap.Strategy},
	"endpoints":                                                    {main: endpoint.Strategy},
	"events":                                                       {main: event.Strategy},
	"limitranges":                                                  {main: limitrange.Strategy},
	"namespaces":                                                   {namespace.Strategy, subresources{"status": namespace.StatusStrategy, "finalize": namespace.FinalizeStrategy}},
	"nodes":                                                        {node.Strategy, status(node.StatusStrategy)},
	"persistentvolumes":                                            {persistentvolume.Strategy, status(persistentvolume.StatusStrategy)},
	"persistentvolumeclaims":                                       {persistentvolumeclaim.Strategy, status(persistentvolumeclaim.StatusStrategy)},
	"pods":                                                         {pod.Strategy, subresources{"status": pod.StatusStrategy, "ephemeralcontainers": pod.EphemeralContainersStrategy, "resize": pod.ResizeStrategy}},
	"podtemplates":                                                 {main: podtemplate.Strategy},
	"replicationcontrollers":                                       {replicationcontroller.Strategy, status(replicationcontroller.StatusStrategy)},
	"resourcequotas":                                               {resourcequota.Strategy, status(resourcequota.StatusStrategy)},
	"secrets":                                                      {main: secret.Strategy},
	"services":                                                     {service.Strategy, status(service.StatusStrategy)},
	"serviceaccounts":                                              {main: serviceaccount.Strategy},
	"endpointslices.discovery.k8s.io":                              {main: endpointslice.Strategy},
	"flowschemas.flowcontrol.apiserver.k8s.io":                     {flowschema.Strategy, status(flowschema.StatusStrategy)},
	"prioritylevelconfigurations.flowcontrol.apiserver.k8s.io": {prioritylevelconfiguration.Strategy, status(prioritylevelconfiguration.StatusStrategy)},
	"ingresses.networking.k8s.io":                              {ingress.Strategy, status(ingress.StatusStrategy)},
	"ingressclasses.networking.k8s.io":                         {main: ingressclass.Strategy},
	"ipaddresses.networking.k8s.io":                            {main: ipaddress.Strategy},
	"networkpolicies.networking.k8s.io":                        {main: networkpolicy.Strategy},
	"servicecidrs.networking.k8s.io":                           {servicecidr.Strategy, status(servicecidr.StatusStrategy)},
	"runtimeclasses.node.k8s.io":                               {main: runtimeclass.Strategy},
	"poddisruptionbudgets.policy":                              {poddisruptionbudget.Strategy, status(poddisruptionbudget.StatusStrategy)},
	"clusterroles.rbac.authorization.k8s.io":                   {main: clusterrole.Strategy},
	"clusterrolebindings.rbac.authorization.k8s.io":            {main: clusterrolebinding.Strategy},
	"roles.rbac.authorization.k8s.io":                          {main: role.Strategy},
	"rolebindings.rbac.authorization.k8s.io":                   {main: rolebinding.Strategy},
	"deviceclasses.resource.k8s.io":                            {main: deviceclass.Strategy},
	"resourceclaims.resource.k8s.io":                           {claims, status(resourceclaim.NewStatusStrategy(claims))},
	"resourceclaimtemplates.resource.k8s.io":                   {main: resourceclaimtemplate.NewStrategy(namespaces)},
	"resourceslices.resource.k8s.io":                           {main: resourceslice.Strategy},
	"priorityclasses.scheduling.k8s.io":                        {main: priorityclass.Strategy},
	"csidrivers.storage.k8s.io":                                {main: csidriver.Strategy},
	"csinodes.storage.k8s.io":                                  {main: csinode.Strategy},
	"csistoragecapacities.storage.k8s.io":                      {main: csistoragecapacity.Strategy},
	"storageclasses.storage.k8s.io":                            {main: storageclass.Strategy},
	"volumeattachments.storage.k8s.io":                         {volumeattachment.Strategy, status(volumeattachment.StatusStrategy)},
	"volumeattributesclasses.storage.k8s.io":                   {main: volumeattributesclass.Strategy},
}
