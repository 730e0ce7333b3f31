//! The operators against PyTorch's values and gradients.

mod common;

use std::collections::HashMap;

use candle_core::{Device, Result, Tensor, Var};
use common::{assert_close, reference};
use repaint::ops::{self, Conv, FrozenConv, Padding};

/// Runs one entry of `ops.safetensors` through `layer` and compares value and gradients.
fn check(name: &str, layer: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let Some(path) = reference("ops.safetensors") else {
        return;
    };
    let tensors: HashMap<String, Tensor> =
        candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let inputs: Vec<Var> = (0..)
        .map_while(|i| tensors.get(&format!("{name}.x{i}")))
        .map(|x| Var::from_tensor(x).unwrap())
        .collect();
    assert!(!inputs.is_empty(), "no entry {name}");
    let arguments: Vec<Tensor> = inputs.iter().map(|x| x.as_tensor().clone()).collect();
    let y = layer(&arguments).unwrap();
    let expected = &tensors[&format!("{name}.y")];
    assert_eq!(y.dims(), expected.dims(), "{name}: shape");
    assert_close(name, &flat(&y), &flat(expected), 1e-4);
    let upstream = &tensors[&format!("{name}.upstream")];
    let grads = (y * upstream)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    for (i, x) in inputs.iter().enumerate() {
        let what = format!("{name}: gradient {i}");
        let grad = grads.get(x).expect(&what);
        let expected = &tensors[&format!("{name}.grad{i}")];
        assert_close(&what, &flat(grad), &flat(expected), 1e-3);
    }
}

fn conv(stride: usize, padding: Padding) -> impl Fn(&[Tensor]) -> Result<Tensor> {
    move |x| {
        let settings = Conv {
            stride,
            padding,
            relu: false,
        };
        ops::conv2d(&x[0], &x[1], Some(&x[2]), settings)
    }
}

#[test]
fn convolutions_with_mirrored_padding_match_pytorch() {
    check("conv3_stride1", conv(1, Padding::Reflect(1)));
    check("conv9", conv(1, Padding::Reflect(4)));
}

#[test]
fn strided_convolutions_of_even_and_odd_sizes_match_pytorch() {
    check("conv3_stride2_even", conv(2, Padding::Reflect(1)));
    check("conv3_stride2_odd", conv(2, Padding::Reflect(1)));
}

#[test]
fn a_convolution_with_zero_padding_matches_pytorch() {
    check("conv3_zero_pad", conv(1, Padding::Zero(1)));
}

#[test]
fn enlarging_a_tensor_that_is_used_twice_matches_pytorch() {
    check("upsample_twice_used", |x| {
        ops::upsample_nearest2(&x[0])? + ops::upsample_nearest2(&x[0].sqr()?)?
    });
}

#[test]
fn pooling_instance_norm_and_gram_match_pytorch() {
    check("max_pool2", |x| ops::max_pool2(&x[0]));
    check("instance_norm", |x| {
        ops::instance_norm(&x[0], &x[1], &x[2], false)
    });
    check("gram", |x| ops::gram(&x[0]));
}

#[test]
fn relu_inside_an_operator_is_relu_after_it() {
    let device = Device::Cpu;
    let x = Var::randn(0f32, 1.0, (2, 3, 13, 10), &device).unwrap();
    let weight = Var::randn(0f32, 0.3, (5, 3, 3, 3), &device).unwrap();
    let scale = Var::randn(1f32, 0.1, 5, &device).unwrap();
    let shift = Var::randn(0f32, 0.5, 5, &device).unwrap();
    let upstream = Tensor::randn(0f32, 1.0, (2, 5, 7, 5), &device).unwrap();
    let run = |inside: bool| {
        let relu = |y: Tensor| if inside { Ok(y) } else { y.relu() };
        let settings = Conv {
            stride: 2,
            padding: Padding::Reflect(1),
            relu: inside,
        };
        let y = relu(ops::conv2d(&x, &weight, Some(&shift), settings)?)?;
        let y = relu(ops::instance_norm(&y, &scale, &shift, inside)?)?;
        let grads = (&y * &upstream)?.sum_all()?.backward()?;
        let mut results = vec![y];
        for variable in [&x, &weight, &scale, &shift] {
            results.push(grads.get(variable).unwrap().clone());
        }
        results
            .iter()
            .map(|t| t.flatten_all()?.to_vec1::<f32>())
            .collect::<Result<Vec<_>>>()
    };
    let (inside, after) = (run(true).unwrap(), run(false).unwrap());
    for (i, (inside, after)) in inside.iter().zip(&after).enumerate() {
        assert_close(&format!("result {i}"), inside, after, 1e-5);
    }
}

#[test]
fn a_frozen_kernel_gets_no_gradient() {
    let x = Var::ones((1, 2, 4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let weight = Tensor::ones((3, 2, 3, 3), candle_core::DType::F32, &Device::Cpu).unwrap();
    let settings = Conv {
        stride: 1,
        padding: Padding::Zero(1),
        relu: true,
    };
    let y = ops::conv2d(&x, &weight, None, settings).unwrap();
    let grads = y.sum_all().unwrap().backward().unwrap();
    assert!(grads.get(&weight).is_none());
    assert!(grads.get(&x).is_some());
}

#[test]
fn a_frozen_convolution_carries_back_what_one_with_tracked_weights_does() {
    let device = Device::Cpu;
    let paddings = [Padding::Zero(1), Padding::Reflect(1)];
    for (channels, padding) in [3, 40]
        .into_iter()
        .flat_map(|channels| paddings.map(|padding| (channels, padding)))
    {
        let x = Var::randn(0f32, 1.0, (2, channels, 9, 14), &device).unwrap();
        let weight = Var::randn(0f32, 0.1, (36, channels, 3, 3), &device).unwrap();
        let bias = Var::randn(0f32, 0.5, 36, &device).unwrap();
        let upstream = Tensor::randn(0f32, 1.0, (2, 36, 9, 14), &device).unwrap();
        let settings = Conv {
            stride: 1,
            padding,
            relu: true,
        };
        let tracked = ops::conv2d(&x, &weight, Some(&bias), settings).unwrap();
        let frozen = FrozenConv::new(&weight, &bias, settings);
        for _ in 0..2 {
            let y = frozen.forward(&x).unwrap();
            let [(y, y_grad), (expected, expected_grad)] = [&y, &tracked].map(|y| {
                let grads = (y * &upstream).unwrap().sum_all().unwrap().backward();
                let grad = grads.unwrap().get(&x).unwrap().clone();
                let flat = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
                (flat(y).unwrap(), flat(&grad).unwrap())
            });
            assert_close("value", &y, &expected, 1e-6);
            assert_close("gradient", &y_grad, &expected_grad, 1e-6);
        }
    }
}

/// By Winograd's transforms, with gradients to come and without, against the sum that they stand for.
#[test]
fn many_channels_with_mirrored_padding_are_those_of_a_mirrored_picture() {
    let device = Device::Cpu;
    let x = Var::randn(0f32, 1.0, (2, 128, 6, 9), &device).unwrap();
    let weight = Tensor::randn(0f32, 0.03, (128, 128, 3, 3), &device).unwrap();
    let bias = Tensor::randn(0f32, 0.5, 128, &device).unwrap();
    let settings = |padding| Conv {
        stride: 1,
        padding,
        relu: true,
    };
    let order = |size: u32| {
        [1].into_iter()
            .chain(0..size)
            .chain([size - 2])
            .collect::<Vec<_>>()
    };
    let [rows, columns] = [6, 9].map(|size| Tensor::new(order(size), &device).unwrap());
    let mirrored = x
        .index_select(&rows, 2)
        .unwrap()
        .index_select(&columns, 3)
        .unwrap();
    let expected = ops::conv2d(&mirrored, &weight, Some(&bias), settings(Padding::Zero(0)));
    let expected = expected.unwrap();
    let mirroring = FrozenConv::new(&weight, &bias, settings(Padding::Zero(1)))
        .with_padding(Padding::Reflect(1));
    let upstream = Tensor::randn(0f32, 1.0, expected.shape(), &device).unwrap();
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let gradient = |y: &Tensor| {
        let grads = (y * &upstream).unwrap().sum_all().unwrap().backward();
        flat(grads.unwrap().get(&x).unwrap())
    };
    let y = mirroring.forward(&x).unwrap();
    assert_close("value", &flat(&y), &flat(&expected), 1e-4);
    assert_close("gradient", &gradient(&y), &gradient(&expected), 1e-4);
    let untracked = mirroring.forward(&x.as_tensor().detach()).unwrap();
    assert_close("untracked", &flat(&untracked), &flat(&expected), 1e-4);
}

#[test]
fn a_convolution_refuses_what_does_not_fit() {
    let x = Tensor::zeros((1, 2, 4, 4), candle_core::DType::F32, &Device::Cpu).unwrap();
    let refused = |kernel: (usize, usize, usize, usize), stride, padding| {
        let weight = Tensor::zeros(kernel, candle_core::DType::F32, &Device::Cpu).unwrap();
        let settings = Conv {
            stride,
            padding,
            relu: false,
        };
        ops::conv2d(&x, &weight, None, settings)
            .unwrap_err()
            .to_string()
    };
    let message = refused((1, 2, 9, 9), 1, Padding::Reflect(4));
    assert!(message.contains("too small to mirror 4"), "{message}");
    let message = refused((1, 3, 3, 3), 1, Padding::Zero(1));
    assert!(message.contains("over 3 channels got 2"), "{message}");
    let message = refused((1, 2, 3, 3), 0, Padding::Zero(1));
    assert!(message.contains("stride of 0"), "{message}");
    let message = refused((1, 2, 7, 7), 1, Padding::Zero(1));
    assert!(message.contains("smaller than the kernel"), "{message}");
}

#[test]
fn average_pooling_matches_pytorch() {
    // x = torch.arange(15.).pow(2).view(1, 1, 3, 5).requires_grad_()
    // y = F.avg_pool2d(x, 2); (y * y).sum().backward(); y, x.grad
    let x: Vec<f32> = (0..15).map(|i| (i * i) as f32).collect();
    let x = Var::from_vec(x, (1, 1, 3, 5), &Device::Cpu).unwrap();
    let y = ops::average_pool2(&x).unwrap();
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(flat(&y), [15.5, 31.5]);
    let gradients = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
    let expected = [
        7.75, 7.75, 15.75, 15.75, 0.0, 7.75, 7.75, 15.75, 15.75, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0,
    ];
    assert_eq!(flat(gradients.get(&x).unwrap()), expected);
}
