package onnx

import "strconv"

// graph reads the main GraphProto, the only one that leaves something in the
// model.
func (p *parser) graph(f field) error {
	const depth = 1
	return p.nested(f, depth, func(f field) error {
		switch f.number {
		case 1:
			return p.node(f, depth+1)
		case 2:
			return p.text(f, &p.m.Graph)
		case 5:
			return p.initializer(f, depth+1)
		case 11:
			return p.value(f, depth+1, &p.m.Inputs)
		case 12:
			return p.value(f, depth+1, &p.m.Outputs)
		case 15:
			return p.sparse(f, depth+1)
		}
		return nil
	})
}

// subgraph is any other GraphProto.
func (p *parser) subgraph(f field, depth int) error {
	return p.nested(f, depth, func(f field) error {
		switch f.number {
		case 1: // node
			return p.node(f, depth+1)
		case 5: // initializer
			return p.tensorOnly(f, depth+1)
		case 15: // sparse_initializer
			return p.sparse(f, depth+1)
		}
		return nil
	})
}

// training is a TrainingInfoProto.
func (p *parser) training(f field, depth int) error {
	return p.nested(f, depth, func(f field) error {
		if f.number == 1 || f.number == 2 { // initialization, algorithm
			return p.subgraph(f, depth+1)
		}
		return nil
	})
}

// function is a FunctionProto.
func (p *parser) function(f field, depth int) error {
	return p.nested(f, depth, func(f field) error {
		switch f.number {
		case 7: // node
			return p.node(f, depth+1)
		case 11: // attribute_proto
			return p.attribute(f, depth+1)
		}
		return nil
	})
}

// node is a NodeProto, of which only what its attributes hold is of interest.
func (p *parser) node(f field, depth int) error {
	return p.nested(f, depth, func(f field) error {
		if f.number == 5 {
			return p.attribute(f, depth+1)
		}
		return nil
	})
}

// attribute is an AttributeProto.
func (p *parser) attribute(f field, depth int) error {
	return p.nested(f, depth, func(f field) error {
		switch f.number {
		case 5, 10: // t, tensors
			return p.tensorOnly(f, depth+1)
		case 6, 11: // g, graphs
			return p.subgraph(f, depth+1)
		case 22, 23: // sparse_tensor, sparse_tensors
			return p.sparse(f, depth+1)
		}
		return nil
	})
}

// sparse is a SparseTensorProto.
func (p *parser) sparse(f field, depth int) error {
	return p.nested(f, depth, func(f field) error {
		if f.number == 1 || f.number == 2 { // values, indices
			return p.tensorOnly(f, depth+1)
		}
		return nil
	})
}

// opset is an OperatorSetIdProto.
func (p *parser) opset(f field) error {
	if len(p.m.Opsets) == maxOpsets {
		return p.w.Malformed("more than %d opsets", maxOpsets)
	}
	var o Opset
	err := p.nested(f, 1, func(f field) error {
		switch f.number {
		case 1:
			return p.text(f, &o.Domain)
		case 2:
			o.Version = int64(f.value)
		}
		return nil
	})
	p.m.Opsets = append(p.m.Opsets, o)
	return err
}

// value is a ValueInfoProto.
func (p *parser) value(f field, depth int, to *[]Value) error {
	if len(*to) == maxValues {
		return p.w.Malformed("more than %d inputs or outputs", maxValues)
	}
	var v Value
	err := p.nested(f, depth, func(f field) error {
		switch f.number {
		case 1:
			return p.text(f, &v.Name)
		case 2: // a TypeProto
			return p.nested(f, depth+1, func(f field) error {
				if f.number == 1 {
					return p.tensorType(f, depth+2, &v)
				}
				return nil
			})
		}
		return nil
	})
	*to = append(*to, v)
	return err
}

// tensorType is a TypeProto.Tensor.
func (p *parser) tensorType(f field, depth int, v *Value) error {
	return p.nested(f, depth, func(f field) error {
		switch f.number {
		case 1:
			v.DType = dtypes[int64(f.value)].name
		case 2: // a TensorShapeProto
			return p.nested(f, depth+1, func(f field) error {
				if f.number == 1 {
					return p.dimension(f, depth+2, v)
				}
				return nil
			})
		}
		return nil
	})
}

// dimension is a TensorShapeProto.Dimension.
func (p *parser) dimension(f field, depth int, v *Value) error {
	if len(v.Shape) == maxDims {
		return p.w.Malformed("more than %d dimensions", maxDims)
	}
	var dim string
	err := p.nested(f, depth, func(f field) error {
		switch f.number {
		case 1:
			dim = strconv.FormatInt(int64(f.value), 10)
		case 2:
			return p.text(f, &dim)
		}
		return nil
	})
	v.Shape = append(v.Shape, dim)
	return err
}
