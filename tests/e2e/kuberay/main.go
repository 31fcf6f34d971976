// Judges manifests by KubeRay's own code: strict decoding, the CRD's schema, and the operator's own validation; then
// prints, as JSON, the containers that the operator would make of each. Arguments: the folder of the CRDs, and a file of
// YAML documents. Each document's answer is one line of output.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	rayv1 "github.com/ray-project/kuberay/ray-operator/apis/ray/v1"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/common"
	"github.com/ray-project/kuberay/ray-operator/controllers/ray/utils"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"
)

type answer struct {
	Kind     string   `json:"kind"`
	Problems []string `json:"problems"`
	Head     []string `json:"head"`
	Worker   []string `json:"worker"`
	Submit   []string `json:"submit"`
}

func main() {
	text, err := os.ReadFile(os.Args[2])
	fatal(err)
	for _, document := range bytes.Split(append([]byte("\n"), text...), []byte("\n---\n")) {
		if len(bytes.TrimSpace(document)) > 0 && !onlyComments(document) {
			said, err := json.Marshal(judge(os.Args[1], document))
			fatal(err)
			fmt.Println(string(said))
		}
	}
}

func fatal(err error) {
	if err != nil {
		panic(err)
	}
}

func onlyComments(document []byte) bool {
	var found interface{}
	return yaml.Unmarshal(document, &found) == nil && found == nil
}

func judge(crds string, document []byte) answer {
	said := answer{Problems: []string{}}
	object := map[string]interface{}{}
	if err := yaml.UnmarshalStrict(document, &object); err != nil {
		said.Problems = append(said.Problems, err.Error())
		return said
	}
	said.Kind, _ = object["kind"].(string)
	add := func(from string, err error) {
		if err != nil {
			said.Problems = append(said.Problems, from+": "+err.Error())
		}
	}
	if said.Kind == "ConfigMap" {
		add("strict", yaml.UnmarshalStrict(document, &corev1.ConfigMap{}))
		return said
	}
	files := map[string]string{"RayJob": "rayjobs", "RayCluster": "rayclusters"}
	if files[said.Kind] == "" || object["apiVersion"] != "ray.io/v1" {
		said.Problems = append(said.Problems, fmt.Sprintf("no kind %q of %v", said.Kind, object["apiVersion"]))
		return said
	}
	said.Problems = append(said.Problems, bySchema(filepath.Join(crds, "ray.io_"+files[said.Kind]+".yaml"), object)...)
	cluster := &rayv1.RayCluster{}
	if said.Kind == "RayCluster" {
		add("strict", yaml.UnmarshalStrict(document, cluster))
		add("operator", utils.ValidateRayClusterMetadata(cluster.ObjectMeta))
	} else {
		job := &rayv1.RayJob{}
		add("strict", yaml.UnmarshalStrict(document, job))
		add("operator", utils.ValidateRayJobMetadata(job.ObjectMeta))
		add("operator", utils.ValidateRayJobSpec(job))
		if job.Spec.RayClusterSpec != nil {
			cluster.Spec = *job.Spec.RayClusterSpec
		}
		if len(said.Problems) == 0 && job.Spec.SubmissionMode == rayv1.SidecarMode {
			submit, err := common.BuildJobSubmitCommand(job, job.Spec.SubmissionMode)
			add("operator", err)
			said.Submit = submit
		}
	}
	add("operator", utils.ValidateRayClusterSpec(&cluster.Spec, nil))
	if len(said.Problems) == 0 {
		made(&said, *cluster)
	}
	return said
}

func bySchema(file string, object map[string]interface{}) []string {
	text, err := os.ReadFile(file)
	fatal(err)
	crd, found := &apiextensionsv1.CustomResourceDefinition{}, []string{}
	fatal(yaml.Unmarshal(text, crd))
	for _, version := range crd.Spec.Versions {
		if version.Name != "v1" {
			continue
		}
		inside := &apiextensions.CustomResourceValidation{}
		fatal(apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(version.Schema, inside, nil))
		structural, err := schema.NewStructural(inside.OpenAPIV3Schema)
		fatal(err)
		unknown := schema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
		validator, _, err := validation.NewSchemaValidator(inside.OpenAPIV3Schema)
		fatal(err)
		for _, problem := range validation.ValidateCustomResource(nil, object, validator) {
			found = append(found, "schema: "+problem.Error())
		}
		for _, path := range pruning.PruneWithOptions(object, structural, true, unknown) {
			found = append(found, "unknown field "+path)
		}
	}
	return found
}

func made(said *answer, cluster rayv1.RayCluster) {
	ctx := context.Background()
	cluster.Name, cluster.Namespace = "shown", "default"
	head := cluster.Spec.HeadGroupSpec
	template := common.DefaultHeadPodTemplate(ctx, cluster, head, "shown-head", "6379")
	pod := common.BuildPod(ctx, template, rayv1.HeadNode, head.RayStartParams, "6379", false, utils.GetCRDType(""), "", nil)
	said.Head = pod.Spec.Containers[0].Args
	for _, group := range cluster.Spec.WorkerGroupSpecs {
		template := common.DefaultWorkerPodTemplate(ctx, cluster, group, "shown-worker", "shown-head-svc", "6379", "", 0, 0)
		pod := common.BuildPod(ctx, template, rayv1.WorkerNode, group.RayStartParams, "6379", false, utils.GetCRDType(""), "shown-head-svc", nil)
		said.Worker = append(said.Worker, pod.Spec.Containers[0].Args...)
	}
}
