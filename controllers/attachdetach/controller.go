package attachdetach

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	csitranslation "k8s.io/csi-translation-lib"

	"clipper/api"
	"clipper/api/attachment"
	"clipper/controllers/owner"
	"clipper/controllers/pods"
	"clipper/controllers/queue"
)

// gather is how long changes are gathered before the world is looked at: a whole deployment comes at once.
const gather = 10 * time.Millisecond

// A Controller attaches and detaches. It looks at everything at a time, but only at what may be attached.
type Controller struct {
	client api.Client
	events pods.Eventer
	queue  *queue.Queue[struct{}]
	now    func() time.Time

	mu   sync.Mutex
	pods map[owner.Key]bool // that may want something attached

	// The rest belongs to sync.
	names    map[string]corev1.UniqueVolumeName // of the attachments' volumes
	unwanted map[place]time.Time
	told     map[place]string // the last complaint about a volume on a node
}

// A place is a volume on a node.
type place struct {
	volume corev1.UniqueVolumeName
	node   string
}

// New returns a controller.
func New(c api.Client, events pods.Eventer) *Controller {
	k := &Controller{client: c, events: events, now: time.Now, pods: map[owner.Key]bool{}, unwanted: map[place]time.Time{}, told: map[place]string{}}
	k.queue = queue.New("attachdetach", 1, func(ctx context.Context, _ struct{}) error { return k.sync(ctx) })
	return k
}

// Run works until ctx ends.
func (k *Controller) Run(ctx context.Context) error {
	look := func(api.Event) { k.queue.AddAfter(struct{}{}, gather) }
	source := func(r api.Resource, handle func(api.Event)) queue.Source {
		return queue.Source{View: k.client.View(r), Handle: handle}
	}
	return k.queue.Run(ctx,
		source(api.Pods.Resource, k.podChanged),
		source(api.Nodes.Resource, k.nodeChanged),
		source(api.PersistentVolumeClaims.Resource, look),
		source(api.PersistentVolumes.Resource, look),
		source(api.VolumeAttachments.Resource, look),
		source(api.CSIDrivers.Resource, look),
	)
}

func (k *Controller) podChanged(e api.Event) {
	pod := e.Object().(*corev1.Pod)
	if !mayAttach(pod) {
		return
	}
	k.mu.Lock()
	if e.Type == api.Deleted {
		delete(k.pods, owner.KeyOf(pod))
	} else {
		k.pods[owner.KeyOf(pod)] = true
	}
	k.mu.Unlock()
	if e.Old != nil && e.New != nil {
		was := e.Old.(*corev1.Pod)
		if was.Spec.NodeName == pod.Spec.NodeName && over(was) == over(pod) {
			return
		}
	}
	k.queue.AddAfter(struct{}{}, gather)
}

// mayAttach reports whether a pod has volumes of a kind that may have to be attached.
func mayAttach(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.PersistentVolumeClaim != nil || v.Ephemeral != nil || csitranslation.New().IsInlineMigratable(&v)
	})
}

func (k *Controller) nodeChanged(e api.Event) {
	if e.Old != nil && e.New != nil {
		was, is := e.Old.(*corev1.Node), e.New.(*corev1.Node)
		if apiequality.Semantic.DeepEqual(was.Status.VolumesAttached, is.Status.VolumesAttached) && slices.Equal(was.Status.VolumesInUse, is.Status.VolumesInUse) &&
			ready(was) == ready(is) && outOfService(was) == outOfService(is) && was.Annotations[managed] == is.Annotations[managed] {
			return
		}
	}
	k.queue.AddAfter(struct{}{}, gather)
}

// sync looks at everything and does what there is to do.
func (k *Controller) sync(ctx context.Context) error {
	k.mu.Lock()
	keys := slices.SortedFunc(maps.Keys(k.pods), func(a, b owner.Key) int {
		return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name)
	})
	k.mu.Unlock()
	w := look(k.client, keys, k.names)
	k.names = w.names
	now := k.now()
	k.remember(w, now)
	var errs []error
	for _, v := range w.sorted() {
		p := decide(v.sorted(), v.shared(), now)
		if !p.wake.IsZero() {
			k.queue.AddAfter(struct{}{}, p.wake.Sub(now))
		}
		for _, s := range p.steps {
			if err := k.carryOut(ctx, v, v.sites[s.node], s); err != nil {
				errs = append(errs, fmt.Errorf("volume %s, node %s: %w", v.name, s.node, err))
			}
		}
	}
	return errors.Join(errs...)
}

// remember notes since when places are unwanted, and forgets those that are no more.
func (k *Controller) remember(w *world, now time.Time) {
	unwanted, told := map[place]time.Time{}, map[place]string{}
	for name, v := range w.volumes {
		for node, s := range v.sites {
			at := place{name, node}
			if len(s.pods) > 0 {
				if text, ok := k.told[at]; ok {
					told[at] = text
				}
				continue
			}
			since, ok := k.unwanted[at]
			if !ok {
				since = now
			}
			unwanted[at], s.unwanted = since, since
		}
	}
	k.unwanted, k.told = unwanted, told
}

func (k *Controller) carryOut(ctx context.Context, v *volume, s *site, st step) error {
	switch st.op {
	case attach:
		return k.attach(ctx, v, s)
	case report:
		return k.report(ctx, v, s)
	case detach:
		return k.detach(ctx, v, s, st.force)
	case conflict:
		k.tellConflict(v, s)
	case failed:
		e := s.attachment.Status.AttachError
		k.complain(v, s, e.Time.String()+e.Message, fmt.Sprintf("AttachVolume.Attach failed for volume %q : %s", v.pv.Name, e.Message))
	case overdue:
		waited := k.now().Sub(s.attachment.CreationTimestamp.Time) / attachTimeout
		k.complain(v, s, fmt.Sprint(s.attachment.UID, waited), fmt.Sprintf("AttachVolume.Attach failed for volume %q : timed out waiting for external-attacher of %v CSI driver to attach volume %v",
			v.pv.Name, v.pv.Spec.CSI.Driver, v.pv.Spec.CSI.VolumeHandle))
	}
	return nil
}

// attach asks the driver's attacher for the volume.
func (k *Controller) attach(ctx context.Context, v *volume, s *site) error {
	src := storagev1.VolumeAttachmentSource{PersistentVolumeName: &v.pv.Name}
	if v.inline {
		src = storagev1.VolumeAttachmentSource{InlineVolumeSpec: &v.pv.Spec}
	}
	_, err := api.VolumeAttachments.Create(ctx, k.client, &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: attachment.Name(v.pv.Spec.CSI.Driver, v.pv.Spec.CSI.VolumeHandle, s.node)},
		Spec:       storagev1.VolumeAttachmentSpec{Attacher: v.pv.Spec.CSI.Driver, NodeName: s.node, Source: src},
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		k.complain(v, s, err.Error(), fmt.Sprintf("AttachVolume.Attach failed for volume %q : kubernetes.io/csi: attacher.Attach failed: %v", v.pv.Name, err))
		return err
	}
	return nil
}

// report tells the node that the volume is attached.
func (k *Controller) report(ctx context.Context, v *volume, s *site) error {
	err := k.setAttached(ctx, s.node, func(n *corev1.Node) (bool, error) {
		if slices.ContainsFunc(n.Status.VolumesAttached, named(v.name)) {
			return false, nil
		}
		n.Status.VolumesAttached = append(n.Status.VolumesAttached, corev1.AttachedVolume{Name: v.name})
		return true, nil
	})
	if err == nil {
		delete(k.told, place{v.name, s.node})
		for _, pod := range s.pods {
			k.events.Event(pod, corev1.EventTypeNormal, "SuccessfulAttachVolume", "AttachVolume.Attach succeeded for volume %q ", v.pv.Name)
		}
	}
	return err
}

var errInUse = errors.New("the node has begun to use it again")

// detach tells the node first, so that it does not mount what is being taken away.
func (k *Controller) detach(ctx context.Context, v *volume, s *site, force bool) error {
	err := k.setAttached(ctx, s.node, func(n *corev1.Node) (bool, error) {
		if slices.Contains(n.Status.VolumesInUse, v.name) && !force {
			return false, errInUse
		}
		before := len(n.Status.VolumesAttached)
		n.Status.VolumesAttached = slices.DeleteFunc(n.Status.VolumesAttached, named(v.name))
		return len(n.Status.VolumesAttached) < before, nil
	})
	if errors.Is(err, errInUse) {
		return nil // its status brings us back
	}
	if err != nil || s.attachment == nil || s.attachment.DeletionTimestamp != nil {
		return err
	}
	err = api.VolumeAttachments.DeleteThis(ctx, k.client, s.attachment, metav1.DeleteOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func (k *Controller) setAttached(ctx context.Context, node string, change func(*corev1.Node) (bool, error)) error {
	_, err := api.Nodes.Mutate(ctx, k.client, "", node, "status", change)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

func named(name corev1.UniqueVolumeName) func(corev1.AttachedVolume) bool {
	return func(a corev1.AttachedVolume) bool { return a.Name == name }
}

// complain tells the pods that wait for a volume, once for each reason to.
func (k *Controller) complain(v *volume, s *site, reason, message string) {
	at := place{v.name, s.node}
	if k.told[at] == reason {
		return
	}
	k.told[at] = reason
	for _, pod := range s.pods {
		k.events.Event(pod, corev1.EventTypeWarning, "FailedAttachVolume", "%s", message)
	}
}

// tellConflict tells who has the volume, without naming pods to users of other namespaces.
func (k *Controller) tellConflict(v *volume, s *site) {
	at := place{v.name, s.node}
	if k.told[at] == "conflict" {
		return
	}
	k.told[at] = "conflict"
	var others []*corev1.Pod
	for _, o := range v.sorted() {
		if o.node != s.node && o.taken() {
			others = append(others, o.pods...)
		}
	}
	for _, pod := range s.pods {
		k.events.Event(pod, corev1.EventTypeWarning, "FailedAttachVolume", "Multi-Attach error for volume %q %s", v.pv.Name, holders(pod.Namespace, others))
	}
}

// holders words who has a volume for users of a namespace.
func holders(namespace string, pods []*corev1.Pod) string {
	if len(pods) == 0 {
		return "Volume is already exclusively attached to one node and can't be attached to another"
	}
	var names []string
	elsewhere := 0
	seen := map[types.UID]bool{}
	for _, p := range pods {
		switch {
		case seen[p.UID]:
		case p.Namespace == namespace:
			names = append(names, p.Name)
		default:
			elsewhere++
		}
		seen[p.UID] = true
	}
	switch {
	case len(names) == 0:
		return fmt.Sprintf("Volume is already used by %d pod(s) in different namespaces", elsewhere)
	case elsewhere > 0:
		return fmt.Sprintf("Volume is already used by pod(s) %s and %d pod(s) in different namespaces", strings.Join(names, ", "), elsewhere)
	}
	return "Volume is already used by pod(s) " + strings.Join(names, ", ")
}
