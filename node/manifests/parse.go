package manifests

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/kubernetes/scheme"

	"clipper/api/podrefs"
	"clipper/catalogue/core/pod"
)

// Parse turns a manifest into the pod that node runs for it: named after the node, identified by what the manifest
// says and where it comes from. source is its annotation.
func Parse(data []byte, origin, source, node string) (*corev1.Pod, error) {
	obj, err := decode(data)
	if err != nil {
		return nil, err
	}
	p, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("invalid pod: it is a %s", obj.GetObjectKind().GroupVersionKind().Kind)
	}
	return p, adopt(p, digest(data, origin), source, node)
}

// ParseAll is Parse for a manifest that may hold a list.
func ParseAll(data []byte, origin, source, node string) (map[types.UID]*corev1.Pod, error) {
	obj, err := decode(data)
	if err != nil {
		return nil, err
	}
	out := map[types.UID]*corev1.Pod{}
	switch o := obj.(type) {
	case *corev1.Pod:
		err = adopt(o, digest(data, origin), source, node)
		out[o.UID] = o
	case *corev1.PodList:
		for i := range o.Items {
			p := &o.Items[i]
			text, merr := p.Marshal()
			if err = errors.Join(merr, adopt(p, digest(text, origin), source, node)); err != nil {
				return nil, err
			}
			out[p.UID] = p
		}
	default:
		err = fmt.Errorf("invalid pod: it is a %s", obj.GetObjectKind().GroupVersionKind().Kind)
	}
	return out, err
}

func decode(data []byte) (runtime.Object, error) {
	obj, _, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("read as an API object: %w", err)
	}
	return obj, nil
}

// digest identifies what data say at the place origin.
func digest(data []byte, origin string) string {
	sum := sha256.New()
	fmt.Fprintln(sum, origin)
	sum.Write(data)
	return hex.EncodeToString(sum.Sum(nil)[:16])
}

// adopt makes p the node's own and checks it. What must be asked of the API server is not for static pods: they run
// without one.
func adopt(p *corev1.Pod, hash, source, node string) error {
	if p.Name == "" {
		return errors.New("invalid pod: name is needed for the pod")
	}
	if p.UID == "" {
		p.UID = types.UID(hash)
	}
	p.Name += "-" + strings.ToLower(node)
	if p.Namespace == "" {
		p.Namespace = corev1.NamespaceDefault
	}
	p.Spec.NodeName = node
	annotations := maps.Clone(p.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[SourceAnnotation], annotations[HashAnnotation] = source, string(p.UID)
	annotations[SeenAnnotation] = time.Now().Format(time.RFC3339Nano)
	p.Annotations = annotations
	if source == FileSource {
		// A pod of the node must not be driven off by the node's own troubles.
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute})
	}
	path := field.NewPath("metadata", "name")
	for _, fault := range validation.IsDNS1123Subdomain(p.Name) {
		return fmt.Errorf("invalid pod: %v", field.Invalid(path, p.Name, fault))
	}
	kind := pod.Resource()
	kind.Default(p)
	if faults := kind.ValidateCreate(p); len(faults) > 0 {
		return fmt.Errorf("invalid pod: %v", faults)
	}
	if what := podrefs.First(&p.Spec); what != "" {
		return fmt.Errorf("static pods may not reference %s", what)
	}
	p.Status = corev1.PodStatus{Phase: corev1.PodPending, QOSClass: pod.QOS(p)}
	p.Generation = 1
	return nil
}
