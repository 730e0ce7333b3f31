//! stub
use crate::camera::Camera;
use crate::math::*;
pub fn camera() -> Camera { Camera { eye: v(0.0,0.0,0.0), target: v(0.0,0.0,1.0), half_height: 0.4 } }
pub fn radiance(_o: Vec3, _d: Vec3, _r: &mut Random) -> Vec3 { v(0.1,0.1,0.1) }
