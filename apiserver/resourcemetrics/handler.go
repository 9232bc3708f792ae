package resourcemetrics

import (
	"errors"
	"net/http"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/handlers/negotiation"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	"clipper/apiserver/aggregation"
	"clipper/apiserver/served"
)

// priority is what metrics-server's own APIService asks for.
var priority = served.Priority{Group: 100, Version: 100}

var resources = []metav1.APIResource{
	{Name: "nodes", SingularName: "node", Namespaced: false, Kind: "NodeMetrics", Verbs: metav1.Verbs{"get", "list"}},
	{Name: "pods", SingularName: "pod", Namespaced: true, Kind: "PodMetrics", Verbs: metav1.Verbs{"get", "list"}},
}

// Extension returns the group version, answered for by c.
func Extension(c *Collector) *aggregation.Extension {
	return aggregation.NewLocal(metricsv1beta1.SchemeGroupVersion, priority, resources, newHandler(c))
}

const root = "/apis/metrics.k8s.io/v1beta1"

// newHandler returns what answers requests below root. Who asks has been authenticated and authorized.
func newHandler(c *Collector) http.Handler {
	mux := http.NewServeMux()
	handle := func(path string, get func(*http.Request) (runtime.Object, error)) {
		mux.HandleFunc("GET "+root+path, func(w http.ResponseWriter, r *http.Request) {
			object, err := get(r)
			if err != nil {
				object = status(err)
			}
			write(w, r, object)
		})
	}
	handle("", func(*http.Request) (runtime.Object, error) {
		return &metav1.APIResourceList{GroupVersion: metricsv1beta1.SchemeGroupVersion.String(), APIResources: resources}, nil
	})
	handle("/nodes", func(r *http.Request) (runtime.Object, error) {
		sel, err := selection(r)
		if err != nil {
			return nil, err
		}
		items, err := c.Nodes(r.Context(), sel)
		return &metricsv1beta1.NodeMetricsList{Items: items}, err
	})
	handle("/nodes/{name}", func(r *http.Request) (runtime.Object, error) { return c.Node(r.Context(), r.PathValue("name")) })
	pods := func(r *http.Request) (runtime.Object, error) {
		sel, err := selection(r)
		if err != nil {
			return nil, err
		}
		items, err := c.Pods(r.Context(), r.PathValue("namespace"), sel)
		return &metricsv1beta1.PodMetricsList{Items: items}, err
	}
	handle("/pods", pods)
	handle("/namespaces/{namespace}/pods", pods)
	handle("/namespaces/{namespace}/pods/{name}", func(r *http.Request) (runtime.Object, error) {
		return c.Pod(r.Context(), r.PathValue("namespace"), r.PathValue("name"))
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && strings.HasPrefix(r.URL.Path, root) {
			write(w, r, status(apierrors.NewMethodNotSupported(metricsv1beta1.Resource(""), strings.ToLower(r.Method))))
			return
		}
		http.NotFound(w, r)
	})
	return mux
}

// selection reads the selectors of a list.
func selection(r *http.Request) (Selection, error) {
	sel := Everything()
	query := r.URL.Query()
	var err error
	if text := query.Get("labelSelector"); text != "" {
		if sel.Labels, err = labels.Parse(text); err != nil {
			return sel, apierrors.NewBadRequest("unable to parse requirement: " + err.Error())
		}
	}
	if text := query.Get("fieldSelector"); text != "" {
		if sel.Fields, err = fields.ParseSelector(text); err != nil {
			return sel, apierrors.NewBadRequest(err.Error())
		}
	}
	if query.Get("watch") == "true" || query.Get("watch") == "1" {
		return sel, apierrors.NewMethodNotSupported(metricsv1beta1.Resource(""), "watch")
	}
	return sel, nil
}

func status(err error) runtime.Object {
	var known apierrors.APIStatus
	if !errors.As(err, &known) {
		known = apierrors.NewServiceUnavailable(err.Error())
	}
	s := known.Status()
	return &s
}

// codecs write metrics in all the forms that an API server has. They are made when somebody first asks.
var codecs = sync.OnceValue(func() serializer.CodecFactory {
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	for _, add := range []func(*runtime.Scheme) error{metricsv1beta1.AddToScheme, metav1.AddMetaToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // the same type registered twice under different names
		}
	}
	return serializer.NewCodecFactory(scheme)
})

// restrictions allow tables beside the objects themselves.
type restrictions struct{}

func (restrictions) AllowsMediaTypeTransform(_, _ string, target *schema.GroupVersionKind) bool {
	return target == nil || target.Group == metav1.GroupName && target.Kind == "Table" && (target.Version == "v1" || target.Version == "v1beta1")
}
func (restrictions) AllowsServerVersion(string) bool { return false }
func (restrictions) AllowsStreamSchema(string) bool  { return false }

// write answers with an object in the form that the client wants.
func write(w http.ResponseWriter, r *http.Request, object runtime.Object) {
	code := http.StatusOK
	options, info, err := negotiation.NegotiateOutputMediaType(r, codecs(), restrictions{})
	if err != nil {
		object, info = status(err), codecs().SupportedMediaTypes()[0]
	}
	version := metricsv1beta1.SchemeGroupVersion
	switch o := object.(type) {
	case *metav1.Status:
		code, version = int(o.Code), schema.GroupVersion{Version: "v1"}
	case *metav1.APIResourceList:
		version = schema.GroupVersion{Version: "v1"}
	default:
		if options.Convert != nil {
			object = table(object, options.Convert)
			version = options.Convert.GroupVersion()
		}
	}
	s := info.Serializer
	if options.Pretty && info.PrettySerializer != nil {
		s = info.PrettySerializer
	}
	w.Header().Set("Content-Type", info.MediaType)
	w.Header().Set("Cache-Control", "no-cache, private")
	w.WriteHeader(code)
	codecs().EncoderForVersion(s, version).Encode(object, w) //nolint:errcheck // the client has gone
}
