A payment for your plan failed
