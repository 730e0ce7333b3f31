//! The losses: against PyTorch's, in strips against the whole, by styles and layers.

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use repaint::train::loss::Form;
use repaint::train::optimize::descent::Descent;
use repaint::train::optimize::objective::Objective;
use repaint::train::optimize::{LayerWeight, Optimizer, Settings};
use repaint::train::vgg::{Pooling, Vgg19};

use super::common::{assert_close, data};
use super::{VGG19, drawn, flat};

#[test]
fn sixty_adam_steps_go_as_in_pytorch() -> Result<()> {
    // from make_reference import losses; vgg = the weights as float64; drawn as above
    // content, style = drawn(1, 20, 120, 160), drawn(2, 8, 96, 128)
    // start = drawn(3, 4, 120, 160).requires_grad_(True)
    // adam = torch.optim.Adam([start], lr=2.0)
    // for step in range(60):
    //     c, s, tv = losses(start, content, style, vgg)
    //     total = c + 20.0 * s + 1e-2 * tv
    //     adam.zero_grad(); total.backward(); adam.step()
    //     print(total.item())
    #[rustfmt::skip]
    const TOTALS: [f64; 60] = [
        39970950.0, 27660290.0, 20142570.0, 15643360.0, 12875600.0, 11109630.0,
        9946168.0, 9115859.0, 8443329.0, 7834684.0, 7269240.0, 6774804.0,
        6370953.0, 6038597.0, 5727682.0, 5396164.0, 5032437.0, 4658204.0,
        4307654.0, 4010203.0, 3773088.0, 3580953.0, 3412875.0, 3258764.0,
        3117562.0, 2991932.0, 2882653.0, 2786282.0, 2699819.0, 2622888.0,
        2554274.0, 2490975.0, 2428451.0, 2364892.0, 2302790.0, 2246562.0,
        2198206.0, 2155162.0, 2113241.0, 2070806.0, 2029042.0, 1990170.0,
        1955109.0, 1923109.0, 1893132.0, 1864902.0, 1838318.0, 1812889.0,
        1788131.0, 1764376.0, 1742214.0, 1721752.0, 1702313.0, 1683132.0,
        1664178.0, 1646026.0, 1629075.0, 1613137.0, 1597749.0, 1582691.0,
    ];
    let Some(path) = data(VGG19) else {
        return Ok(());
    };
    let vgg = Vgg19::read(&path, &Device::Cpu)?;
    let settings = Settings {
        optimizer: Optimizer::Adam,
        learning_rate: Some(2.0),
        form: Form::Absolute,
        style_weight: 20.0,
        tv_weight: 1e-2 * 255.0 * 255.0,
        ..Settings::default()
    };
    let (content, style) = (drawn(1, 20, 120, 160)?, drawn(2, 8, 96, 128)?);
    let objective = Objective::new(&vgg, &settings, Some(&content), &[(style, 1.0)])?;
    let mut descent = Descent::new(&settings, &drawn(3, 4, 120, 160)?, &objective)?;
    for (step, expected) in TOTALS.into_iter().enumerate() {
        let found = descent.step(&objective)?.context("no step")?.total;
        assert!(
            (found - expected).abs() <= 0.005 * expected,
            "step {step}: {found}, expected {expected}"
        );
    }
    Ok(())
}

#[test]
fn strips_give_the_losses_and_the_gradient_of_the_whole() -> Result<()> {
    let Some(path) = data(VGG19) else {
        return Ok(());
    };
    for pooling in [Pooling::Max, Pooling::Average] {
        let vgg = Vgg19::read(&path, &Device::Cpu)?.with_pooling(pooling);
        let settings = Settings {
            content_layers: LayerWeight::all(&["conv1_2", "conv2_1", "conv4_2"]),
            ..Settings::default()
        };
        let (content, style) = (drawn(1, 11, 99, 66)?, drawn(2, 8, 96, 64)?);
        let picture = drawn(3, 4, 99, 66)?;
        let at = |most| {
            let styles = [(style.clone(), 1.0)];
            let content = Some(&content);
            Objective::with_most_features(&vgg, &settings, content, &styles, most)?.at(&picture)
        };
        let (whole, gradient) = at(usize::MAX)?;
        let (in_strips, gradient_in_strips) = at(1 << 17)?; // of three blocks
        for (found, expected) in [
            (in_strips.content, whole.content),
            (in_strips.style, whole.style),
            (in_strips.total, whole.total),
        ] {
            assert!(
                (found - expected).abs() <= 1e-4 * expected,
                "{found} {expected}"
            );
        }
        let (found, expected) = (flat(&gradient_in_strips)?, flat(&gradient)?);
        assert_close("gradient", &found, &expected, 1e-3);
    }
    Ok(())
}

#[test]
fn styles_count_by_their_share_and_layers_by_their_weight() -> Result<()> {
    let Some(path) = data(VGG19) else {
        return Ok(());
    };
    let vgg = Vgg19::read(&path, &Device::Cpu)?;
    let (one, other) = (drawn(1, 8, 64, 64)?, drawn(2, 16, 64, 64)?);
    let style_loss = |layers: &str, picture: &Tensor, styles: &[(&Tensor, f64)]| {
        let layers = layers.split(',').map(str::parse).collect::<Result<_>>()?;
        let settings = Settings::default().reconstruct_style(layers);
        let styles: Vec<_> = styles
            .iter()
            .map(|(style, w)| ((*style).clone(), *w))
            .collect();
        let objective = Objective::new(&vgg, &settings, None, &styles)?;
        Ok::<_, anyhow::Error>(objective.at(picture)?.0.style)
    };
    let layer = "conv2_1";
    assert!(style_loss(layer, &one, &[(&one, 0.2), (&one, 0.4)])? < 1e-6);
    let near = style_loss(layer, &one, &[(&one, 3.0), (&other, 1.0)])?;
    let far = style_loss(layer, &one, &[(&one, 1.0), (&other, 3.0)])?;
    assert!(near > 0.0 && far > 4.0 * near, "{near} {far}");

    let styles = [(&other, 1.0)];
    let shallow = style_loss("conv1_1", &one, &styles)?;
    let deep = style_loss("conv3_3", &one, &styles)?;
    let both = style_loss("conv1_1:3,conv3_3", &one, &styles)?;
    let expected = 0.75 * shallow + 0.25 * deep;
    assert!(
        (both - expected).abs() < 1e-4 * expected,
        "{both} {expected}"
    );
    Ok(())
}
