package format_test

import (
	"context"
	"fmt"

	"github.com/modelreg/modelreg/pkg/format"
)

func ExampleDescribe() {
	files := memory(map[string]string{
		"config.json":       `{"architectures":["BertForMaskedLM"],"model_type":"bert","max_position_embeddings":512}`,
		"model.safetensors": safe(1000, "F16", 2),
	})
	m, err := format.Describe(context.Background(), files)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(m.Library, m.Task, m.ContextLength)
	fmt.Println(m.Parameters, m.DTypes)
	// Output:
	// transformers fill-mask 512
	// 1000 map[F16:1000]
}
