"""What is measured on a replica's frames: helix 12, contacts, MM/GBSA; and the statistics over replicas."""
