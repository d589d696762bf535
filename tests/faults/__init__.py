"""What users notice when parts fail, on every store, and what an hour of churn leaves behind."""
