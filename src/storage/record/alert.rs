//! Messages on their way to people.

use bincode::{Decode, Encode};

use crate::domain::alert::Delivery;
use crate::domain::id::AlertId;
use crate::domain::time::UtcMillis;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct DeliveryRecord {
    id: [u8; 16],
    channel: String,
    subject: String,
    body: String,
    made_at: u64,
    attempts: u32,
    next_at: u64,
}

impl From<&Delivery> for DeliveryRecord {
    fn from(delivery: &Delivery) -> Self {
        Self {
            id: delivery.id.to_bytes(),
            channel: delivery.channel.to_string(),
            subject: delivery.subject.to_string(),
            body: delivery.body.to_string(),
            made_at: delivery.made_at.0,
            attempts: delivery.attempts,
            next_at: delivery.next_at.0,
        }
    }
}

impl From<DeliveryRecord> for Delivery {
    fn from(record: DeliveryRecord) -> Self {
        Self {
            id: AlertId::from_bytes(record.id),
            channel: record.channel.into(),
            subject: record.subject.into(),
            body: record.body.into(),
            made_at: UtcMillis(record.made_at),
            attempts: record.attempts,
            next_at: UtcMillis(record.next_at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::codec;

    #[test]
    fn the_bytes_of_a_message_are_as_they_were() {
        let delivery = Delivery {
            id: AlertId::from_bytes([2; 16]),
            channel: "a".into(),
            subject: "b".into(),
            body: "c".into(),
            made_at: UtcMillis(4),
            attempts: 5,
            next_at: UtcMillis(6),
        };
        let mut golden = vec![1];
        golden.extend([2; 16]);
        golden.extend([1, b'a', 1, b'b', 1, b'c', 4, 5, 6]);
        assert_eq!(codec::encode(&DeliveryRecord::from(&delivery)), golden);
        let read: DeliveryRecord = codec::decode(|| "a message".into(), &golden).expect("reads");
        assert_eq!(Delivery::from(read), delivery);
    }
}
