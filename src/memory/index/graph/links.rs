//! The edges of a layered graph in flat arrays: one block of fixed width a node on the ground, one a node and layer
//! above.
//!
//! Refuses to know: distances. Invariants: pure; a node's links on a layer are without gaps from the front of their
//! block.

/// Links of a node on each layer above the ground.
pub const UPPER: usize = 16;
/// Links of a node on the ground.
pub const GROUND: usize = 2 * UPPER;
/// No node.
pub const NONE: u32 = u32::MAX;
/// Where the blocks of what is no node begin.
const ABSENT: u32 = u32::MAX - 1;

/// The edges.
#[derive(Debug, Clone, Default)]
pub struct Links {
    ground: Vec<[u32; GROUND]>,
    /// Where a node's blocks above the ground begin; [`NONE`] when it is on the ground alone.
    upper_at: Vec<u32>,
    upper: Vec<[u32; UPPER]>,
}

impl Links {
    /// Adds the next node, which is on the ground and on `layers` layers above it.
    pub fn add(&mut self, layers: u8) {
        self.ground.push([NONE; GROUND]);
        self.upper_at
            .push(if layers == 0 { NONE } else { self.upper.len() as u32 });
        let upper = self.upper.len() + usize::from(layers);
        self.upper.resize(upper, [NONE; UPPER]);
    }

    /// Leaves the next number without a node.
    pub fn skip(&mut self) {
        self.ground.push([NONE; GROUND]);
        self.upper_at.push(ABSENT);
    }

    /// Whether there is a node of this number.
    pub fn has(&self, node: u32) -> bool {
        self.upper_at.get(node as usize).is_some_and(|at| *at != ABSENT)
    }

    /// Numbers given out, with and without a node.
    pub fn count(&self) -> usize {
        self.ground.len()
    }

    /// The links of a node on a layer, 0 being the ground.
    #[expect(clippy::inline_always, reason = "it is in the innermost loop")]
    #[inline(always)]
    pub fn of(&self, node: u32, layer: u8) -> &[u32] {
        let block: &[u32] = if layer == 0 {
            &self.ground[node as usize]
        } else {
            &self.upper[self.upper_at[node as usize] as usize + usize::from(layer) - 1]
        };
        let end = block.iter().position(|link| *link == NONE).unwrap_or(block.len());
        &block[..end]
    }

    /// Replaces the links of a node on a layer; what does not fit is left out.
    pub fn set(&mut self, node: u32, layer: u8, links: &[u32]) {
        let block = self.block(node, layer);
        let fitting = links.len().min(block.len());
        block[..fitting].copy_from_slice(&links[..fitting]);
        block[fitting..].fill(NONE);
    }

    /// Adds one link; false when the block is full.
    pub fn push(&mut self, node: u32, layer: u8, link: u32) -> bool {
        let block = self.block(node, layer);
        match block.iter().position(|other| *other == NONE) {
            Some(free) => {
                block[free] = link;
                true
            }
            None => false,
        }
    }

    fn block(&mut self, node: u32, layer: u8) -> &mut [u32] {
        if layer == 0 {
            &mut self.ground[node as usize]
        } else {
            &mut self.upper[self.upper_at[node as usize] as usize + usize::from(layer) - 1]
        }
    }

    /// Bytes that the arrays take.
    pub fn bytes(&self) -> usize {
        self.ground.capacity() * size_of::<[u32; GROUND]>()
            + self.upper_at.capacity() * 4
            + self.upper.capacity() * size_of::<[u32; UPPER]>()
    }
}
