package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// kindsPerGroup is how many kinds of custom resources have a group in common, as an operator's have.
const kindsPerGroup = 10

// definitions measures what the definitions of a large set of operators cost: to create them, until clients find
// them in the documents, to keep them.
func definitions(ctx context.Context, b *bench) error { return b.definitions(ctx, 200, 29<<10) }

// manyDefinitions is the same for the sets that describe all that a cloud has to offer.
func manyDefinitions(ctx context.Context, b *bench) error { return b.definitions(ctx, 1000, 10<<10) }

func (b *bench) definitions(ctx context.Context, many, size int) error {
	name := fmt.Sprintf("Definitions/n=%d/KiB=%d", many, size>>10)
	dir, err := os.MkdirTemp(b.dir, "definitions-")
	if err != nil {
		return err
	}
	s, _, err := b.startServerIn(ctx, dir)
	if err != nil {
		return err
	}
	if err = errors.Join(b.createDefinitions(ctx, s, name, many, size), s.stop()); err != nil {
		return err
	}
	s, took, err := b.startServerIn(ctx, dir)
	if err != nil {
		return err
	}
	client, err := plainClient(s)
	if err == nil {
		_, err = waitServed(ctx, client, definition(many-1, size), took)
	}
	if err == nil {
		report(name+"/restart", took.Seconds()*1e3, "readyz-ms", float64(cpuTime(s.cmd.Process.Pid).Milliseconds()), "cpu-ms")
	}
	if err = errors.Join(err, s.stop(), os.RemoveAll(filepath.Join(dir, "data"))); err != nil {
		return err
	}
	return b.withServer(ctx, func(s *server) error { return publishDefinitions(ctx, s, name, many, size) })
}

// createDefinitions measures creation while nobody reads the documents, and the memory that is taken afterwards. The first
// few are not counted: after them the parts of the program are in memory that any definition needs.
func (b *bench) createDefinitions(ctx context.Context, s *server, name string, many, size int) error {
	client, err := plainClient(s)
	if err != nil {
		return err
	}
	if err := wait(ctx, startOver); err != nil {
		return err
	}
	if _, err := createRange(ctx, client, 0, kindsPerGroup, size); err != nil {
		return err
	}
	if err := wait(ctx, settled); err != nil {
		return err
	}
	pid := s.cmd.Process.Pid
	before, used, start := pss(pid), cpuTime(pid), time.Now()
	text, err := createRange(ctx, client, kindsPerGroup, many, size)
	if err != nil {
		return err
	}
	took := time.Since(start)
	last, err := waitServed(ctx, client, definition(many-1, size), took)
	if err != nil {
		return err
	}
	if err := wait(ctx, 2*time.Second); err != nil { // what is done behind the answers is part of the price
		return err
	}
	perDefinition := (cpuTime(pid) - used).Seconds() * 1e3 / float64(many-kindsPerGroup)
	peak := pss(pid)
	if err := wait(ctx, settled); err != nil {
		return err
	}
	report(name, took.Seconds(), "s", (last - took).Seconds(), "s-until-served", perDefinition, "cpu-ms/op", float64(text)/float64(many-kindsPerGroup)/1024, "KiB-JSON",
		float64(peak-before)/float64(text), "PSS-B/B-soon", float64(pss(pid)-before)/float64(text), "PSS-B/B")
	return nil
}

// startOver is when a new server has given back the parts of the program that only its start needed.
const startOver = 30 * time.Second

// publishDefinitions measures how soon a client finds each kind that is created in the document of version 3, which it
// reads whenever the index names another, and the last in that of version 2.
func publishDefinitions(ctx context.Context, s *server, name string, many, size int) error {
	client, err := plainClient(s)
	if err != nil {
		return err
	}
	created, failed := make([]time.Time, many), make(chan error, 1)
	start := time.Now()
	go func() {
		var err error
		for i := 0; i < many && err == nil; i++ {
			_, err = createDefinition(ctx, client, definition(i, size))
			created[i] = time.Now()
		}
		failed <- err
	}()
	reader, err := plainClient(s) // with a connection of its own
	if err != nil {
		return err
	}
	seen, err := readDocuments(ctx, reader, many)
	if err = errors.Join(err, <-failed); err != nil {
		return err
	}
	took := created[many-1].Sub(start)
	var late []time.Duration
	for i, at := range seen {
		late = append(late, max(0, at.Sub(created[i])))
	}
	slices.Sort(late)
	again := definition(many, size)
	if _, err := createDefinition(ctx, client, again); err != nil {
		return err
	}
	begin := time.Now()
	for !published(ctx, reader, "/openapi/v2", again.Spec.Names.Kind) {
		if time.Since(begin) > time.Minute {
			return errors.New("a kind does not appear in version 2")
		}
	}
	report(name+"/publish", took.Seconds(), "s", late[many/2].Seconds()*1e3, "v3-p50-ms", late[many-1].Seconds()*1e3, "v3-max-ms", time.Since(begin).Seconds()*1e3, "v2-ms")
	return nil
}

// readDocuments follows the documents of version 3 until all kinds were in one, and returns when each was.
func readDocuments(ctx context.Context, client *rest.RESTClient, many int) ([]time.Time, error) {
	seen, known, missing := make([]time.Time, many), map[string]string{}, many
	for start := time.Now(); missing > 0; {
		if time.Since(start) > 5*time.Minute {
			return nil, fmt.Errorf("%d kinds are in no document", missing)
		}
		raw, err := client.Get().AbsPath("/openapi/v3").DoRaw(ctx)
		if err != nil {
			return nil, err
		}
		var index struct {
			Paths map[string]struct {
				URL string `json:"serverRelativeURL"`
			}
		}
		if err := json.Unmarshal(raw, &index); err != nil {
			return nil, err
		}
		for path, at := range index.Paths {
			if known[path] == at.URL || !strings.Contains(path, ".figures.example.com/") {
				continue
			}
			known[path] = at.URL
			doc, err := client.Get().RequestURI(at.URL).DoRaw(ctx)
			if err != nil {
				return nil, err
			}
			group := 0
			fmt.Sscanf(path, "apis/g%d.figures", &group)
			for i := group * kindsPerGroup; i < min(many, (group+1)*kindsPerGroup); i++ {
				if seen[i].IsZero() && strings.Contains(string(doc), fmt.Sprintf(`"kind":"Thing%d"`, i)) {
					seen[i] = time.Now()
					missing--
				}
			}
		}
		if err := wait(ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return seen, nil
}

func published(ctx context.Context, client *rest.RESTClient, path, kind string) bool {
	raw, err := client.Get().AbsPath(path).DoRaw(ctx)
	return err == nil && strings.Contains(string(raw), fmt.Sprintf(`"kind":"%s"`, kind))
}

// waitServed returns how long after the start, which began took ago, the kind of d can be listed.
func waitServed(ctx context.Context, client *rest.RESTClient, d *apiextensionsv1.CustomResourceDefinition, took time.Duration) (time.Duration, error) {
	start := time.Now()
	for time.Since(start) < time.Minute {
		if err := client.Get().AbsPath("/apis", d.Spec.Group, "v1", d.Spec.Names.Plural).Do(ctx).Error(); err == nil {
			return took + time.Since(start), nil
		}
		if err := wait(ctx, time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%s is not served", d.Name)
}

// createRange creates the definitions from one number to before another, and returns the size of their text.
func createRange(ctx context.Context, client *rest.RESTClient, from, to, size int) (text int, err error) {
	for i := from; i < to; i++ {
		n, err := createDefinition(ctx, client, definition(i, size))
		if err != nil {
			return 0, err
		}
		text += n
	}
	return text, nil
}

func createDefinition(ctx context.Context, client *rest.RESTClient, d *apiextensionsv1.CustomResourceDefinition) (size int, err error) {
	text, err := json.Marshal(d)
	if err != nil {
		return 0, err
	}
	return len(text), client.Post().AbsPath("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").SetHeader("Content-Type", "application/json").Body(text).Do(ctx).Error()
}

func plainClient(s *server) (*rest.RESTClient, error) {
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.GroupVersion, config.NegotiatedSerializer = -1, &metav1.Unversioned, scheme.Codecs.WithoutConversion()
	return rest.RESTClientFor(config)
}

// definition returns the i-th: about as many bytes of JSON, as generated from Go types with their comments.
func definition(i, bytes int) *apiextensionsv1.CustomResourceDefinition {
	const perGroup = 10 // about 2.4 KB
	groups := map[string]apiextensionsv1.JSONSchemaProps{}
	for g := range max(1, bytes/2400) {
		item := apiextensionsv1.JSONSchemaProps{Type: "object", Required: []string{"name"}, Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
		for n := range perGroup {
			item.Properties[fmt.Sprintf("field%d", n)] = apiextensionsv1.JSONSchemaProps{
				Type: "string", Description: fmt.Sprintf("Field %d of group %d of kind %d %s", n, g, i, strings.Repeat("says what it is for, ", 7)),
			}
		}
		length := int64(63)
		item.Properties["name"] = apiextensionsv1.JSONSchemaProps{Type: "string", MaxLength: &length, Description: "Name of the thing"}
		groups[fmt.Sprintf("group%d", g)] = apiextensionsv1.JSONSchemaProps{Type: "array", Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item}}
	}
	most := int64(32)
	ruled := groups["group0"]
	ruled.MaxItems = &most
	ruled.Items.Schema.XValidations = apiextensionsv1.ValidationRules{{Rule: "self.name != 'x' || has(self.field1)", Message: "x needs a first field"}}
	groups["group0"] = ruled
	name, group := fmt.Sprintf("thing%d", i), fmt.Sprintf("g%d.figures.example.com", i/kindsPerGroup)
	return &apiextensionsv1.CustomResourceDefinition{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition"},
		ObjectMeta: metav1.ObjectMeta{Name: name + "s." + group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: name + "s", Singular: name, Kind: "T" + name[1:], ListKind: "T" + name[1:] + "List"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true, Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Description: "A thing", Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"apiVersion": {Type: "string"}, "kind": {Type: "string"}, "metadata": {Type: "object"},
						"spec": {Type: "object", Properties: groups},
					},
				}},
			}},
		},
	}
}
