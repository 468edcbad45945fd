def test_sagemaker_answers(embedded):
    assert embedded.client("sagemaker").list_models()["Models"] == []
    print(embedded.client("sts").get_caller_identity())
    print(embedded.client("cloudwatch").list_metrics())
    print(embedded.client("iam").simulate_principal_policy(PolicySourceArn=embedded.environment["TRAINMASTER_EXECUTION_ROLE_ARN"], ActionNames=["s3:GetObject","ec2:X","dynamodb:PutItem"])["EvaluationResults"])
